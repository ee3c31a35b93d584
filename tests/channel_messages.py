"""Messages of a candidate's channel: honest ones, damaged ones, forged ones, random bytes.

For the tests of whoever reads them, and for bench/channel.py. Left out: reading them.
"""

from __future__ import annotations

import random
from collections import Counter, OrderedDict, deque
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction

from pawl.sandbox import driver
from pawl.sandbox.ocaml import OCaml
from pawl.sandbox.ocaml_report import not_built
from pawl.sandbox.ocaml_report import read as read_report
from pawl.sandbox.python import read as read_python
from pawl.sandbox.verdict import Verification, tested
from pawl.sandbox.watch import Ended
from pawl.types import Case, Close, CodeTask, Compare

VALUES = [
    *(0, -7, 10**400, 1.5, -0.0, float("inf"), float("nan"), True, None, "", "a\n\u20ac", b"\x00"),
    *([1, [2.5, "x"]], (1, (2,)), {"a": [1], 2: (3,)}, {1, 2.5}, frozenset({(1, 2)}), bytearray(2)),
    *(1 + 2j, range(3), Counter("aab"), OrderedDict(a=1), deque([1]), Decimal("1.50")),
    *(Fraction(1, 3), datetime(2026, 1, 2, 3), date(2026, 1, 2), time(3, 4), timedelta(1, 2, 3)),
    *(list(range(300)), {str(i): i for i in range(100)}),
]
DUMPS = [
    *("i42", 's"a\\nb"', "f0x1.8p+1", "finfinity", "fnan", "[ f0x1p+0 f0x1p-1]", "i0"),
    *("(0 i1 (0 i2 i0))", '(0 s"x" f0x1p+0)', "(1 i5)", "(0 (0 i1 i2) (0 (0 i3 i4) i0))"),
]
PIECES = [
    *("H", "D", "L", "B", "V 0", "V -1", "V 9" * 9, "C", "C 2", "C x", "C 99999999999", "M best 1"),
    *("M best", "M best x", "M types 1 true oh", "M types x true", "M types", "M syntax 1 2 no"),
    *(
        "E syntax bad",
        "E load memory full",
        "E",
        "E  ",
        "X 0 unserialisable",
        "X 0 memory no",
        "X 0",
    ),
    *(
        "R",
        "R 0",
        "R 0 ",
        "R 999999 1",
        "R -1 1",
        "R 0 1e999",
        "R 0 -Infinity",
        "R 0 " + "9" * 4400,
    ),
    *(
        'R 0 {"t":1}',
        'R 0 {"c":["a","b"]}',
        'R 0 {"c":[1,2,3]}',
        'R 0 {"r":[1,2,0]}',
        'R 0 {"s":[[]]}',
    ),
    *('R 0 {"d":[[1]]}', 'R 0 {"d":[[{"d":[]},1]]}', 'R 0 {"Counter":[[1,"a"]]}', 'R 0 {"b":"0"}'),
    *('R 0 {"Fraction":[1,0]}', 'R 0 {"Decimal":"1E999999999"}', 'R 0 {"Decimal":"sNaN"}'),
    *('R 0 {"time":"99:99"}', 'R 0 {"datetime":"0001-01-01T00:00:00+14:00"}', 'R 0 {"date":5}'),
    *(
        'R 0 {"timedelta":[1e99,0,0]}',
        'R 0 {"timedelta":[999999999999,0,0]}',
        'R 0 {"nope":1}',
        "R 0 {}",
    ),
    *("R 0 (((((", 'R 0 s"', "R 0 f0x1p+99999", "R 0 f0x" + "f" * 400, "R 0 [" * 400, "R 0 i"),
]
COMPARES: tuple[Compare, ...] = (
    "==",
    "==",
    "==",
    "json",
    "!=",
    "<",
    "in",
    "lacks",
    "contains",
    "raises",
)
EXPECTED = [*VALUES[:20], [0.5], {"a": 0.5}, (1.5, 10**30)]


def colliding(n: int) -> str:
    """A set whose members all have one hash, which Python builds in quadratic time."""
    return 'R 0 {"s":[' + ",".join(str(1 + i * ((1 << 61) - 1)) for i in range(n)) + "]}"


def message(rng: random.Random, lang: str) -> bytes:
    """One message, at most a megabyte as the watch lets through."""
    lines: list[str] = []
    for _ in range(rng.choice((1, 2, 4, 8))):
        what = rng.random()
        if what < 0.4:
            value = (
                driver.form(rng.choice(VALUES), 0, [10_000])
                if lang == "python"
                else rng.choice(DUMPS)
            )
            lines.append(f"R {rng.randrange(4)} {value}")
        elif what < 0.9:
            lines.append(rng.choice(PIECES))
        elif what < 0.93:
            lines.append(
                "R 0 " + rng.choice(("[", '{"t":', "(0 ", '{"d":[[')) * rng.randrange(1, 40_000)
            )
        elif what < 0.95:
            lines.append(colliding(rng.choice((10, 1000, 20_000))))
        elif what < 0.97:
            lines.append(
                "R 0 "
                + rng.choice(("[1.5,", "[[],", '["a",', "i1 ", "f0x1p+0 ")) * rng.randrange(100_000)
            )
        else:
            lines.append(rng.randbytes(rng.randrange(400)).decode("latin-1"))
    data = bytearray(
        "\n".join(["H", "V 0", "L" if lang == "python" else "B", *lines, "D\n"]).encode()
    )
    for _ in range(rng.choice((0, 0, 1, 3))):  # damage
        at = rng.randrange(len(data) + 1)
        data[at : at + rng.randrange(4)] = rng.randbytes(rng.randrange(4))
    if rng.random() < 0.2:
        del data[rng.randrange(len(data) + 1) :]
    return bytes(data[: 1 << 20])


def wanted(rng: random.Random, case: Case) -> object:
    """An expected value that the case's comparison can have."""
    if case.compare == "in":
        return [rng.choice(EXPECTED), rng.choice(EXPECTED)]
    return "ValueError" if case.compare == "raises" else rng.choice(EXPECTED)


def judged(rng: random.Random, lang: str, data: bytes) -> Verification:
    """What the judge makes of a message, against four expected values, some compared closely."""
    cases = tuple(
        Case("[]", "", close=rng.choice((None, Close())), compare=rng.choice(COMPARES))
        for _ in range(4)
    )
    ended = Ended(out=data, err=rng.randbytes(50))
    if lang == "python":
        task = CodeTask("python", "f", cases)
        return read_python(task, [wanted(rng, case) for case in cases], ended)[0]
    report = read_report(ended)
    if not report.built:
        return not_built(report, ended, len(cases))
    return tested(cases, [rng.choice(DUMPS) for _ in cases], report.answers, OCaml(), ended)
