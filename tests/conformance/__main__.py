"""Holds the matrix of rows and mutants: see `conformance.matrix`."""

import sys

from conformance.matrix import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
