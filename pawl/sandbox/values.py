"""Plain Python values read from what a candidate wrote, and whether they are what was expected.

Whoever writes on the channel may be the candidate itself, so nothing is believed: the content of
each tag is checked for type and size before anything is built from it, only exact standard types
are built, and whatever cannot be read or compared is NotAValue. Long texts are read under limits of
CPU time and memory. Left out: the writer (`driver.py`), what a wrong value means (`verdict.py`).
Standard library only.
"""

from __future__ import annotations

import json
import operator
import re
import resource
import signal
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from math import isclose
from types import FrameType
from typing import Any

from pawl.types import Close, Compare

SHORT = 1 << 14  # characters that are read at once, without limits
CPU_S, MEMORY = 0.5, 128 << 20  # of reading and comparing one longer text
FEW = 64  # members of a set that may share a hash
_DECIMAL = re.compile(r"-?(?:\d{1,9000}(?:\.\d{0,9000})?(?:E[+-]?\d{1,9})?|Infinity|NaN)")
_HEX, _ISO = re.compile(r"(?:[0-9a-f]{2})*"), re.compile(r"[0-9T:.+-]{1,40}")
# What the standard library raises for bad content, and our limits.
_RAISED = (ValueError, TypeError, ArithmeticError, LookupError, RecursionError, MemoryError)


class NotAValue(ValueError):
    """The text is no plain value, or reading it takes too much."""


class _TooLong(Exception):
    """The time for one text is over."""


def same(
    text: str, expected: Any, close: Close | None = None, compare: Compare = "=="
) -> bool | None:
    """Whether the driver's JSON stands to the expected value as `Case` says it must.

    None when it is no plain value.
    """
    try:
        with nullcontext() if len(text) <= SHORT else _bounded():
            return stands(decode(text), expected, close, compare)
    except (*_RAISED, _TooLong):
        return None


def decode(text: str) -> Any:
    """A plain value from the driver's JSON; raises NotAValue for anything else."""
    try:
        return json.loads(text, object_hook=_tagged)
    except _RAISED as error:
        raise NotAValue(f"not a value: {type(error).__name__}") from None


def stands(got: Any, expected: Any, close: Close | None, compare: Compare) -> bool:
    """Whether a value stands to the expected one as the comparison says; see `pawl.types.Case`."""
    if compare == "json":
        return equal(_as_json(got), _as_json(expected), close)
    if compare in ("in", "not in"):
        if isinstance(expected, (str, bytes)):
            return _within(got, expected) == (compare == "in")
        return any(equal(got, member, close) for member in expected) == (compare == "in")
    if compare in ("contains", "lacks"):
        found = _contains(got, expected, close)
        return found is not None and found == (compare == "contains")
    if compare in _ORDER:
        try:
            return bool(_ORDER[compare](got, expected))
        except TypeError:  # of kinds that have no order
            return False
    return equal(got, expected, close) == (compare != "!=")


def _within(part: Any, text: Any) -> bool:
    """Whether one text stands in another of its kind."""
    return type(part) is type(text) and bool(part in text)


def _contains(got: Any, expected: Any, close: Close | None) -> bool | None:
    """Whether a value holds another one; None where it can hold none."""
    if isinstance(got, bytes) and type(expected) is int:
        return 0 <= expected < 256 and expected in got
    if isinstance(got, (str, bytes)):
        return _within(expected, got)
    if isinstance(got, range):  # it may be long without end
        whole = type(expected) is int or (type(expected) is float and expected.is_integer())
        return whole and int(expected) in got
    if isinstance(got, (list, tuple, set, frozenset, dict, deque)):
        return any(equal(member, expected, close) for member in got)
    return None


_ORDER = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def _as_json(value: Any) -> Any:
    """The value with lists for tuples and text for keys, as JSON would give it back."""
    if isinstance(value, (list, tuple)):
        return [_as_json(item) for item in value]
    if isinstance(value, dict):
        return {_as_key(key): _as_json(item) for key, item in value.items()}
    return value


def _as_key(key: Any) -> Any:
    if key is None or isinstance(key, (bool, int, float)):
        return json.dumps(key)
    return key


def equal(got: Any, expected: Any, close: Close | None) -> bool:
    """== on plain values; with `close`, numbers may differ by so much."""
    if close is None:
        return bool(got == expected)
    if isinstance(expected, (int, float)) and isinstance(got, (int, float, Fraction, Decimal)):
        return bool(got == expected) or near(got, expected, close)
    if type(got) is not type(expected):
        return False
    if isinstance(got, (list, tuple)):
        pairs = zip(got, expected, strict=False)
        return len(got) == len(expected) and all(equal(a, b, close) for a, b in pairs)
    if isinstance(got, dict):
        same_keys = got.keys() == expected.keys()
        return same_keys and all(equal(got[key], expected[key], close) for key in got)
    return bool(got == expected)


def near(got: float | Fraction | Decimal, expected: float, close: Close) -> bool:
    """Whether two numbers are as close as that."""
    try:
        return isclose(float(got), float(expected), rel_tol=close.rel, abs_tol=close.abs)
    except OverflowError:  # an integer beyond any float
        return False


@contextmanager
def _bounded() -> Iterator[None]:
    """Little CPU time and memory for what is done inside; _TooLong or MemoryError beyond it.

    Only a process's first thread can be interrupted; scorer processes have no other.
    """
    with open("/proc/self/statm", "rb") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limits = [n for n in (used + MEMORY, soft, hard) if n != resource.RLIM_INFINITY]
    first = threading.current_thread() is threading.main_thread()
    resource.setrlimit(resource.RLIMIT_AS, (min(limits), hard))
    if first:
        before = signal.signal(signal.SIGVTALRM, _interrupt)
        signal.setitimer(signal.ITIMER_VIRTUAL, CPU_S)
    try:
        try:
            yield
        finally:
            if first:
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)  # may be too late, once
    finally:
        if first:
            signal.signal(signal.SIGVTALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise _TooLong


# ---- tags ----------------------------------------------------------------------------------------


def _tagged(raw: dict[str, Any]) -> Any:
    if len(raw) != 1:
        raise NotAValue("not a tagged value")
    ((tag, content),) = raw.items()
    if tag not in _FORMS:
        raise NotAValue("unknown tag")
    return _FORMS[tag](content)


def _list(content: Any, kinds: tuple[type, ...] = (), length: int | None = None) -> list[Any]:
    """The content, if it is a list: of exact types, and so long, where these are given."""
    fits = type(content) is list and length in (None, len(content))
    if not fits or (kinds and any(type(x) not in kinds for x in content)):
        raise NotAValue("content of another type")
    found: list[Any] = content
    return found


def _members(content: list[Any]) -> list[Any]:
    """The content, if a set of it is made fast: hashable, and hardly any two of equal hash."""
    hashes = Counter(map(hash, content))
    if len(content) > FEW and max(hashes.values()) > FEW:
        raise NotAValue("too many members of equal hash")
    return content


def _mapping(content: Any) -> dict[Any, Any]:
    pairs = [tuple(_list(pair, length=2)) for pair in _list(content)]
    _members([key for key, _ in pairs])
    return dict(pairs)


def _text(content: Any, shape: re.Pattern[str]) -> str:
    if type(content) is not str or not shape.fullmatch(content):
        raise NotAValue("content of another form")
    return content


_FORMS: dict[str, Callable[[Any], Any]] = {
    "t": lambda v: tuple(_list(v)),
    "d": _mapping,
    "s": lambda v: set(_members(_list(v))),
    "z": lambda v: frozenset(_members(_list(v))),
    "b": lambda v: bytes.fromhex(_text(v, _HEX)),
    "a": lambda v: bytearray.fromhex(_text(v, _HEX)),
    "c": lambda v: complex(*_list(v, (float,), 2)),
    "r": lambda v: range(*_list(v, (int,), 3)),
    "Counter": lambda v: Counter(_mapping(v)),
    "OrderedDict": lambda v: OrderedDict(_mapping(v)),
    "deque": lambda v: deque(_list(v)),
    "Decimal": lambda v: Decimal(_text(v, _DECIMAL)),
    "Fraction": lambda v: Fraction(*_list(v, (int,), 2)),
    "datetime": lambda v: datetime.fromisoformat(_text(v, _ISO)),
    "date": lambda v: date.fromisoformat(_text(v, _ISO)),
    "time": lambda v: time.fromisoformat(_text(v, _ISO)),
    "timedelta": lambda v: timedelta(*_list(v, (int,), 3)),
}
