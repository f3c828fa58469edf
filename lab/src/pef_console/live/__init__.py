"""The live stage: a real pair over HTTP, with go-betweens on both wires that hold messages."""
