"""One side played by us, so that the other can be tested alone."""
