"""A process that has imported what `pawl` needs, and forks for each command: what it costs, fast.

Started as `python forked_commands.py MODULE...`. A line on its input is a JSON object (args,
folder, env), a line on its output another (code, out, err, cpu_s). cpu_s counts the imports too, as
a command of its own would. Nothing runs in this process itself, so that a fork is as good as a
fresh start.
"""

import importlib
import json
import os
import resource
import sys
from pathlib import Path


def used(usage: resource.struct_rusage) -> float:
    return usage.ru_utime + usage.ru_stime


def run(args: list[str], folder: str, env: dict[str, str]) -> dict[str, object]:
    """One command in a process of its own."""
    child = os.fork()
    if child == 0:
        os.chdir(folder)
        os.environ.update(env)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, name in ((1, ".out"), (2, ".err")):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.argv = ["pawl", *args]
        from pawl.cli.main import main

        try:
            main()
        except SystemExit as e:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(int(e.code or 0))
    _, status, usage = os.wait4(child, 0)
    own = resource.getrusage(resource.RUSAGE_SELF)
    out, err = ((Path(folder) / name).read_text() for name in (".out", ".err"))
    code = os.waitstatus_to_exitcode(status)
    return {"code": code, "out": out, "err": err, "cpu_s": used(own) + used(usage)}


if __name__ == "__main__":
    for module in sys.argv[1:]:
        importlib.import_module(module)
    for line in sys.stdin:
        print(json.dumps(run(**json.loads(line))), flush=True)
