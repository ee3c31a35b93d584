"""Runs `pawl ARGS` and at the n-th call of a named function kills itself, or removes a file.

    python tests/kill_driver.py pawl.models.checkpoint:save_file 2 train CONFIG ...
    REMOVE=/some/bwrap python tests/kill_driver.py pawl.train.loop:train_step 2 train CONFIG ...

For the resume and fault tests only: a real kill -9 from inside, or a part of the machinery that
disappears, at a moment that a timer would rarely hit.
"""

import importlib
import os
import signal
import sys


def main() -> None:
    place, count, *args = sys.argv[1:]
    module_name, path = place.split(":")
    owner = importlib.import_module(module_name)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    real, calls = getattr(owner, name), [0]

    def dying(*a, **k):
        calls[0] += 1
        if calls[0] == int(count):
            if "REMOVE" in os.environ:
                os.unlink(os.environ["REMOVE"])
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        return real(*a, **k)

    setattr(owner, name, dying)
    from pawl.cli.main import main as pawl

    pawl(args)


if __name__ == "__main__":
    main()
