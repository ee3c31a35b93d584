"""`python -m pawl`: the same as the `pawl` command."""

import os
import sys

if sys.path[0] == os.getcwd():  # put there by -m: a random.py beside the data is not Python's own
    del sys.path[0]

from pawl.cli.main import main

main()
