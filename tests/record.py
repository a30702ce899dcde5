"""`python -m tests.record [pytest arguments]`: records real PyTorch's answers for the tests that use `agree`."""

import sys

import pytest

if __name__ == "__main__":
    sys.exit(pytest.main(["--record", "-m", "agrees", "-p", "no:xdist", "-q", *sys.argv[1:]]))
