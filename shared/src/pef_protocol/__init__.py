"""The words both sides need to talk: calls, codes, quantities, runs, wire. No rule, no I/O."""
