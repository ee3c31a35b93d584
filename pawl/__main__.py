"""`python -m pawl`: the same as the `pawl` command."""

from pawl.cli.main import main

main()
