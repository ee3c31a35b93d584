"""Canary attacks and controls that a tier must survive before it is trusted.

Each is a Python program run like any candidate; the harmless ones must work and the hostile ones
must fail, checked from outside where a candidate could lie. About 0.3 s. Left out: CPU and wall
limits (they cost their seconds; the tests cover them) and the full attack corpus (tests/attacks).
"""

from __future__ import annotations

import json
import marshal
import os
import socket
import tempfile
from pathlib import Path

from pawl.sandbox import bubblewrap
from pawl.sandbox.slot import Sandbox
from pawl.sandbox.verdict import answers
from pawl.sandbox.visible import PACKAGE

_CONTROL = """
import json, tempfile, threading
def canary():
    out = []
    thread = threading.Thread(target=out.append, args=(41,))
    thread.start()
    thread.join()
    with tempfile.TemporaryFile("w+") as file:
        file.write(json.dumps(out))
        file.seek(0)
        return json.load(file)[0] + 1
"""
_SPY = """
import os, socket
def canary(port, secret, package, home, pid, outside, name):
    got = []
    def attempt(label, action):
        try:
            action()
        except (OSError, OverflowError):
            return
        got.append(label)
    attempt("read a file of /tmp", lambda: open(secret).read())
    attempt("read Pawl itself", lambda: os.listdir(package))
    attempt("list the home folder", lambda: os.listdir(home))
    attempt("signal the scorer", lambda: os.kill(pid, 0))
    attempt("read the scorer's environment", lambda: open("/proc/%d/environ" % pid).read())
    attempt("reach loopback", lambda: socket.create_connection(("127.0.0.1", port), 1))
    def abstract():
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(chr(0) + name)
    attempt("reach an abstract socket", abstract)
    try:
        open(outside, "w").write("here")
    except OSError:
        pass
    return got + ["environment " + name for name in os.environ]
"""
_DAEMON = """
import os, time
def canary():
    if os.fork() == 0:
        try:
            os.setsid()
        except OSError:
            pass
        if os.fork() == 0:
            time.sleep(60)
        os._exit(0)
    return 0
"""
_HOG = """
def canary(size):
    try:
        return len(bytearray(size))
    except MemoryError:
        return -1
"""


def failure(sandbox: Sandbox) -> str:
    """Why this tier cannot be trusted here, "" when all controls work and all canaries fail."""
    reason, value = _call(sandbox, _CONTROL)
    if value != 42:
        return f"a harmless program failed: {reason or value}"
    reason, value = _spy(sandbox)
    if reason or value:
        return f"a candidate could {reason or value}"
    _, value = _call(sandbox, _DAEMON)
    left = sandbox.left_over()
    if value != 0 or left:
        return f"a daemon stayed alive ({left})" if left else "a program that forks failed"
    _, value = _call(sandbox, _HOG, sandbox.limits.memory_mb << 20)
    if value not in (-1, None):
        return "a candidate could use more memory than its limit"
    for name in sandbox.limits.packages:
        reason, value = _call(sandbox, f"import {name}\ndef canary():\n    return 42\n")
        if value != 42:
            return f"a candidate cannot import {name}: {reason}"
    return ""


def _spy(sandbox: Sandbox) -> tuple[str, str]:
    """Run the spy against real bait: a file, a port, an abstract socket, this process."""
    name = f"pawl-canary-{os.getpid()}"
    with (
        tempfile.NamedTemporaryFile("w", dir="/tmp") as bait,
        socket.create_server(("127.0.0.1", 0), backlog=4) as server,
        socket.socket(socket.AF_UNIX) as hidden,
    ):
        bait.write("bait")
        bait.flush()
        os.chmod(bait.name, 0o644)
        hidden.bind(f"\0{name}")
        hidden.listen(4)
        outside = Path(bait.name + "-outside")
        home, port = os.path.expanduser("~"), server.getsockname()[1]
        args = (port, bait.name, str(PACKAGE), home, os.getpid(), str(outside), name)
        reason, value = _call(sandbox, _SPY, *args)
    if outside.exists():
        outside.unlink()
        return "write outside its folder", ""
    if not isinstance(value, list):
        return "", f"not be watched: {reason}"
    known = {f"environment {key}" for key in (*bubblewrap.ENVIRONMENT, "PWD", "LC_CTYPE")}
    return "", ", ".join(sorted(set(map(str, value)) - known))


def _call(sandbox: Sandbox, source: str, *args: int | str) -> tuple[str, object]:
    """(reason, value) of `canary(*args)`."""
    case = (marshal.dumps(args, 4), "")
    candidate = (source, "whole", list[str]())
    request = marshal.dumps(([candidate], "canary", [case], list(sandbox.folders)), 4)
    ended = sandbox.judge_python(request)
    if ended.fault:
        return ended.fault, None
    text = ended.out.decode("utf-8", "replace")
    what, value = answers(text.split("\n")).get("0", ("", ""))
    return ("", json.loads(value)) if what == "R" else (text[:200].replace("\n", " "), None)
