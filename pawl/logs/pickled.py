"""Plain values out of a file of torch.save, without unpickling: no code of the file runs.

The pickle's instructions are walked through; classes and calls become placeholders, a member of an
enumeration its value. Enough for training_args.bin. Instructions: `pickletools` of the standard
library. Left out: tensors (storages beside the pickle), the formats of torch before 1.6.
"""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

MOST = 1 << 20  # bytes of a pickle
VALUES = (
    ("NONE", "NEWTRUE", "NEWFALSE")
    + ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT")
    + ("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING")
    + ("SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8")
)
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
SILENT = ("PROTO", "FRAME")
PUTS, GETS = ("PUT", "BINPUT", "LONG_BINPUT"), ("GET", "BINGET", "LONG_BINGET")
TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
PLAIN = (str, int, float, bool)


@dataclass(slots=True)
class Thing:
    """An object of the pickle. name: module and class; args: what it was made of."""

    name: str
    args: tuple[object, ...] = ()
    state: dict[object, object] = field(default_factory=dict)


class Mark:
    """The place where a list of operands begins."""


def attributes(path: Path) -> dict[str, object]:
    """Plain attributes of the one object in a file; raises ValueError when it has none.

    Attributes that are neither numbers, texts, flags nor empty are left out.
    """
    try:
        found = _walk(_pickle(path))
    except (LookupError, TypeError, AttributeError, OverflowError, zipfile.BadZipFile) as error:
        raise ValueError(f"no pickle of plain values: {error!r}") from error
    if not isinstance(found, Thing):
        raise ValueError("the pickle holds no object")
    rows = ((k, _value(v)) for k, v in found.state.items() if isinstance(k, str))
    return {k: v for k, v in rows if v is None or isinstance(v, PLAIN)}


def _value(value: object) -> object:
    """A member of an enumeration as its value."""
    if isinstance(value, Thing) and len(value.args) == 1 and not value.state:
        return value.args[0]
    return value


def _pickle(path: Path) -> bytes:
    """The pickle in a file of torch.save, which is a zip archive."""
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.filename.endswith("/data.pkl"):
                stored = info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1
                if not stored or info.file_size > MOST:
                    raise ValueError("the pickle is packed or too large")
                with archive.open(info) as file:
                    return file.read(MOST)
    raise ValueError("the archive holds no pickle")


def _walk(data: bytes) -> object:
    """What the instructions leave on the stack."""
    stack, memo = list[object](), dict[int, object]()
    for name, arg in _steps(data):
        if name in VALUES:
            stack.append(CONSTANTS.get(name, arg))
        elif name in PUTS or name == "MEMOIZE":
            memo[len(memo) if name == "MEMOIZE" else int(str(arg))] = stack[-1]
        elif name in GETS:
            stack.append(memo[int(str(arg))])
        elif name in TUPLES:
            n = TUPLES[name]
            parts = tuple(stack[len(stack) - n :])
            del stack[len(stack) - n :]
            stack.append(parts)
        elif name == "MARK":
            stack.append(Mark())
        elif name == "STOP":
            return stack[-1]
        else:
            _object(name, arg, stack)
    raise ValueError("the pickle breaks off")


def _steps(data: bytes) -> Iterator[tuple[str, object]]:
    for operation, arg, _ in pickletools.genops(data):
        if operation.name not in SILENT:
            yield operation.name, arg


def _object(name: str, arg: object, stack: list[object]) -> None:
    """Instructions that make or fill something; raises ValueError for those that none needs."""
    if name in ("EMPTY_LIST", "EMPTY_SET"):
        stack.append([])
    elif name == "EMPTY_DICT":
        stack.append({})
    elif name == "GLOBAL":
        stack.append(Thing(str(arg)))
    elif name == "STACK_GLOBAL":
        last, first = stack.pop(), stack.pop()
        stack.append(Thing(f"{first} {last}"))
    elif name in ("REDUCE", "NEWOBJ"):
        args, made = stack.pop(), stack.pop()
        stack.append(Thing(made.name if isinstance(made, Thing) else "", _tuple(args)))
    elif name == "BUILD":
        state, made = stack.pop(), stack[-1]
        if isinstance(made, Thing) and isinstance(state, dict):
            made.state = state
    elif name in ("SETITEM", "APPEND"):
        _fill([stack.pop() for _ in range(2 if name == "SETITEM" else 1)][::-1], stack)
    elif name in ("SETITEMS", "APPENDS", "ADDITEMS"):
        _fill(_to_mark(stack), stack)
    elif name in ("TUPLE", "LIST", "FROZENSET"):
        stack.append(tuple(_to_mark(stack)))
    elif name == "DICT":
        parts = _to_mark(stack)
        stack.append(dict(zip(parts[::2], parts[1::2], strict=True)))
    elif name in ("BINPERSID", "PERSID"):
        if name == "BINPERSID":
            stack.pop()
        stack.append(None)
    else:
        raise ValueError(f"an instruction that plain values do not need: {name}")


def _tuple(value: object) -> tuple[object, ...]:
    return value if isinstance(value, tuple) else ()


def _fill(parts: list[object], stack: list[object]) -> None:
    """Put operands into the list or dictionary on top of the stack."""
    top = stack[-1]
    if isinstance(top, dict):
        top.update(zip(parts[::2], parts[1::2], strict=True))
    elif isinstance(top, list):
        top += parts


def _to_mark(stack: list[object]) -> list[object]:
    """Take off what stands above the last mark, and the mark."""
    parts = list[object]()
    while not isinstance(value := stack.pop(), Mark):
        parts.append(value)
    return parts[::-1]
