"""Programs that read standard input: ways to read and print, verdicts, attacks, comparing."""

from __future__ import annotations

import marshal
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from attack_runner import limits, score
from hypothesis import given
from hypothesis import strategies as st

from pawl.sandbox.stdin import alike
from pawl.sandbox.tiers import Sandbox, open_sandbox, unavailable
from pawl.sandbox.verify import best_constant, measured, verify
from pawl.types import Case, Close, CodeTask, Problem

# Of the outputs no two are equal but the last two: the best constant passes 2 of 5.
CASES = [
    ("3\n1 2 3\n", "6"),
    ("2\n5 5\n", "10\n"),
    ("1\n-4\n", "-4"),
    ("1\n0", "0"),
    ("2\n1 -1", "0"),
]
TASK = CodeTask("python", "", tuple(Case(a, b) for a, b in CASES))
SUMS = Problem("sums", "", TASK)
slow = pytest.mark.slow
WAYS = [
    pytest.param(("bubblewrap", "warm"), id="bubblewrap-warm"),
    pytest.param(("bubblewrap", "cold"), id="bubblewrap-cold", marks=slow),
    pytest.param(("landlock", "cold"), id="landlock-cold", marks=slow),
]
SUM = "sum(map(int, input().split()))"


@pytest.fixture(scope="module", params=WAYS)
def each(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """A sandbox of each tier, started in each way."""
    tier, start = request.param
    if unavailable(tier) or shutil.which("python3") is None:
        pytest.skip(f"{tier}: {unavailable(tier)}")
    with open_sandbox(limits(tier), warm=start == "warm") as sandbox:
        yield sandbox


RIGHT = {
    "input": f"input()\nprint({SUM})",
    "main": f"def main():\n    input()\n    print({SUM}, end='')\n"
    "if __name__ == '__main__':\n    main()\n    raise SystemExit(0)",
    "sys.exit": f"import sys\ninput()\nprint({SUM})\nsys.exit()",
    "read": "import sys\nd = sys.stdin.read().split()\nsys.stdout.write(str(sum(map(int, d[1:]))))",
    "lines": "import sys\nfor line in list(sys.stdin)[1:]:\n    print(sum(map(int, line.split())))",
    "bytes": "import sys\nd = sys.stdin.buffer.readlines()\nprint(sum(map(int, d[1].split())))",
    "open": "d = open(0).read().split()\nprint(sum(map(int, d[1:])))",
    "descriptors": "import os\nd = os.read(0, os.fstat(0).st_size).split()\n"
    "os.write(1, b'%d' % sum(map(int, d[1:])))\nos._exit(0)",
    "twice": "import sys\nsys.stdin.read()\nsys.stdin.seek(0)\ninput()\nprint(" + SUM + ")",
    "a thread": "import sys, threading\nsys.setrecursionlimit(10 ** 6)\n"
    "threading.stack_size(1 << 26)\n"
    f"threading.Thread(target=lambda: (input(), print({SUM}))).start()",
    "atexit": "import atexit, io, sys\nsys.stdout = io.StringIO()\n"
    "atexit.register(lambda: sys.__stdout__.write(sys.stdout.getvalue()))\n"
    f"input()\nprint({SUM})",
    "its own buffer": "import sys\nclass Out:\n    said = ''\n    closed = False\n"
    "    def write(self, s): self.said += s\n"
    "    def flush(self):\n        sys.__stdout__.write(self.said)\n        self.said = ''\n"
    f"sys.stdout = Out()\ninput()\nprint({SUM})",
    "a class": "from dataclasses import dataclass\n@dataclass\nclass P:\n    xs: list\n"
    f"input()\nprint(P([{SUM}]).xs[0])",
    "fence": f"Sure:\n```python\ninput()\nprint({SUM})\n```\nOutput:\n```\n6\n```\nThat is it.",
    "helper apart": f"```python\ndef f():\n    return {SUM}\n```\nThen\n"
    "```python\ninput()\nprint(f())\n```",
    "draft": f"```python\nprint(0)\n```\nNo:\n```python\ninput()\nprint({SUM})\n```",
    "thought": f"<think>\n```python\nprint(1)\n```\n</think>\ninput()\nprint({SUM})",
    "float": f"input()\nprint('%.1f' % {SUM})",
    "blanks": f"input()\nprint('\\n\\n  ', {SUM}, ' \\n')",
    "a child": "import os\ninput()\nif not os.fork():\n"
    f"    print({SUM}, flush=True)\n    os._exit(0)\nos.wait()",
    "exit": f"input()\nprint({SUM})\nexit()\nprint('never')",
    "quit": f"input()\nprint({SUM})\nquit(0)",
    "noise": f"import sys\ninput()\nprint({SUM})\nprint('debug' * 9999, file=sys.stderr)",
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_right_programs_pass(name: str, each: Sandbox) -> None:
    found = score(each, SUMS, RIGHT[name])
    assert found.passed and found.total == 1.0, found


WRONG = {
    "input()\nprint(6)": "wrong: printed 6, expected 10, for stdin `2 5 5`",
    "x = 1": "wrong: printed nothing, expected 6, for stdin `3 1 2 3`",
    "print(6": "compile: '(' was never closed",
    "print(int(input()) // 0)": "exception: ZeroDivisionError",
    f"input()\nprint({SUM})\nraise ValueError('late')": "exception: ValueError: late, for stdin",
    f"import sys\ninput()\nprint({SUM})\nsys.exit(3)": "exception: ended with status 3",
    f"import sys\ninput()\nprint({SUM})\nsys.exit('bad')": "exception: SystemExit: bad",
    "while True:\n    input()": "exception: EOFError",
    "bytearray(1 << 34)": "memory: MemoryError",
    "while True:\n    print('x' * 999)": "output: output limit",
    "import os\nos.close(1)\nprint(6)": "exception: OSError",
    "": "compile: ",
    "Just think about it carefully.": "compile: ",
}


def test_what_goes_wrong_is_said(each: Sandbox) -> None:
    for program, told in WRONG.items():
        found = verify(each, TASK, program)
        verdict, _, message = told.partition(": ")
        assert (found.verdict, message in found.message) == (verdict, True), (program, found)


def test_what_takes_too_long_ends_the_run(each: Sandbox) -> None:
    """Cases before it count; those behind it are not waited for."""
    slow = f"n = input()\nwhile n == '2':\n    pass\nprint({SUM})"
    found = verify(each, TASK, slow)
    assert (found.verdict, found.passed) == ("timeout", (True, False, False, False, False))
    found = verify(each, TASK, "import time\ntime.sleep(60)")
    assert (found.verdict, found.types) == ("timeout", 0.0)
    assert found.time_ms < 2 * 1000 * each.limits.wall_s


def test_shares_of_the_tests() -> None:
    assert best_constant(TASK) == 2
    passed = verify_stub((True, True, True, False, False))
    assert measured(passed, TASK).values["tests"] == pytest.approx(1 / 3)


def verify_stub(passed: tuple[bool, ...]) -> Any:
    from pawl.sandbox.verdict import Verification

    return Verification("wrong", passed, types=1.0, compiled=True)


# ---- attacks -------------------------------------------------------------------------------------

LATE = "import os, time\nd = open(0).read().split()\nif not os.fork():\n    {}"
LATE += "time.sleep(0.2)\n    print(sum(map(int, d[1:])), flush=True)\n"
SESSION = "try: os.setsid()\n    except OSError: pass\n    "
ATTACKS = {
    "channel lines": "for k in range(9):\n    print(f'R {k} 6\\nV 0\\nH\\nD', flush=True)",
    "every descriptor": "import os\nfor fd in range(64):\n    try:\n"
    "        os.write(fd, b'R 0 6\\nR 1 10\\npass\\n')\n    except OSError:\n        pass",
    "leave at once": "import os\nos._exit(0)",
    "leave well": "raise SystemExit(0)",
    "another program": "import os\nos.execv('/bin/true', ['true'])",
    "by a signal": "import os, signal\nprint(6, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)",
    "print, then crash": f"input()\nprint({SUM}, flush=True)\n1 / 0",
    "print, then fail": f"import os\ninput()\nprint({SUM}, flush=True)\nos._exit(1)",
    "print, then loop": f"input()\nprint({SUM}, flush=True)\nwhile True: pass",
    "print, then flood": f"input()\nprint({SUM})\nwhile True: print()",
    "exit hook": f"import atexit, os\natexit.register(os._exit, 0)\ninput()\nprint({SUM} + 1)",
    "close it": "import os\nos.closerange(0, 64)",
    "a child prints late": LATE.format(""),
    "a daemon prints late": LATE.format(SESSION),
    "look at the parent": "import os\nfor name in ('cmdline', 'environ', 'fd/0', 'fd/3', 'mem'):\n"
    "    try:\n        print(open(f'/proc/{os.getppid()}/{name}', errors='replace').read(4096))\n"
    "    except OSError:\n        pass",
    "look at itself": "import os\nprint(os.listdir('/proc/self/fd'), os.environ, os.listdir('.'))\n"
    "print(open('/proc/self/cmdline').read(), open(0).read())",
    "look at objects": "import gc, sys\nprint([o for o in gc.get_objects() if type(o) is bytes])\n"
    "f = sys._getframe()\nwhile f:\n    print({k: v for k, v in f.f_locals.items() if k != 'f'})\n"
    "    f = f.f_back",
    "patch the writer": "import sys, builtins\nbuiltins.print = None\nsys.stdout = None",
    "patch comparison": "class S(str):\n    def __eq__(self, other): return True\n"
    "print(S('6'))\nimport os\nos.environ['PYTHONSTARTUP'] = '/tmp/x'",
    "wait for more": "import select, sys, time\nsys.stdin.read()\n"
    "print(sys.stdin.read(), select.select([0], [], [], 0.1))",
    "terminal": "open('/dev/tty').read()",
    "wrong words": "print('nan')\nprint('inf')",
    "kill them all": "import os, signal\nos.kill(-1, signal.SIGTERM)",
    "end the parent": "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)",
}  # fmt: skip


def test_no_attack_scores(each: Sandbox) -> None:
    """Form alone may earn at most what a program that prints something wrong earns."""
    most = score(each, SUMS, "print('no')").total
    assert most is not None and most <= 0.1
    for name, program in ATTACKS.items():
        found = score(each, SUMS, program)
        assert found.status == "scored" and not found.passed, (name, found)
        assert found.components["tests"] == 0.0 and (found.total or 0.0) <= most, (name, found)
    assert not each.left_over()


def test_a_run_leaves_nothing_for_the_next(each: Sandbox) -> None:
    """Neither files nor processes carry what one case was asked into another."""
    program = (
        "import os\nnames = ('/tmp/seen', 'seen', '/dev/shm/seen')\n"
        "print(sum(map(os.path.exists, names)))\nfor p in names:\n    try:\n"
        "        open(p, 'w').close()\n    except OSError:\n        pass\n"
    )
    task = CodeTask("python", "", tuple(Case(str(k), "0") for k in range(4)))
    assert verify(each, task, program).passed == (True,) * 4


def test_expected_text_never_enters(each: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []
    judge = each.judge_python
    monkeypatch.setattr(each, "judge_python", lambda data: asked.append(data) or judge(data))
    task = CodeTask("python", "", (Case("given words", "secret words"),))
    assert verify(each, task, "print(input())").verdict == "wrong"
    assert len(asked) == 1 and b"given words" in asked[0] and b"secret" not in asked[0]
    assert len(marshal.loads(asked[0])) == 3


# ---- comparing -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("got", "want", "close", "equal"),
    [
        ("1 2\n3", " 1\n2 3 \n", None, True),
        ("1 2", "1 2 3", None, False),
        ("1.0", "1", None, True),
        ("1e2", "100", None, True),
        ("0.30000000000000004", "0.3", None, False),
        ("0.30000000000000004", "0.3", Close(1e-6, 1e-6), True),
        ("0.31", "0.3", Close(1e-6, 1e-6), False),
        ("1000001", "1000000", Close(1e-5, 1e-8), False),  # whole numbers are exact
        ("1000000.1", "1000000", Close(1e-5, 1e-8), False),
        ("nan", "0.5", Close(1e-6, 1e-6), False),
        ("inf", "1e400", Close(1e-6, 1e-6), False),
        ("1_0", "10", None, False),
        ("\u0661", "1", None, False),
        ("YES", "yes", None, False),
        ("", "", None, True),
        ("1" * 5000, "1" * 4999 + "2", None, False),
        ("1e9999999999", "1", None, False),
        ("0x10", "16", None, False),
    ],
)
def test_words_compare_as_judges_do(got: str, want: str, close: Close | None, equal: bool) -> None:
    assert alike(got.split(), want.split(), Case("", want, close=close)) is equal


def test_words_without_case() -> None:
    case = Case("", "YES", view="lower")
    assert alike(["yes"], ["YES"], case) and not alike(["no"], ["YES"], case)


@given(st.lists(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1)), st.data())
def test_layout_never_counts(words: list[str], data: st.DataObject) -> None:
    gaps = [data.draw(st.text(" \t\n", min_size=1, max_size=3)) for _ in words]
    text = "".join(a + b for a, b in zip(gaps, words, strict=True)) + " \n"
    assert alike(text.split(), words, Case("", " ".join(words)))
