"""Plain values out of a file of torch.save: the unpickler finds no class, so no code of it runs.

Every class that the pickle names is a placeholder that keeps what it is called with; a member of an
enumeration is its value. Enough for training_args.bin. Safe by `Unpickler.find_class`, see
"Restricting Globals" in docs.python.org/3/library/pickle.html. Left out: tensors (storages beside
the pickle), the formats of torch before 1.6.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import zipfile
from pathlib import Path

MOST = 1 << 20  # bytes of a pickle
PUTS = ("PUT", "LONG_BINPUT")  # the unpickler makes room for every place below theirs
PLAIN = (str, int, float, bool)


class Thing:
    """An object of the pickle. made_of: what its class was called with."""

    __slots__ = ("__dict__", "made_of")
    made_of: tuple[object, ...]

    def __new__(cls, *args: object) -> Thing:
        """Keep the arguments; nothing is called."""
        thing = object.__new__(cls)
        thing.made_of = args
        return thing


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type[Thing]:
        """A class of its own for every name, since a pickle may set attributes of it."""
        return type("Thing", (Thing,), {})

    def persistent_load(self, place: object) -> None:
        """Tensors are left out."""


def attributes(path: Path) -> dict[str, object]:
    """Plain attributes of the one object in a file; raises ValueError when it has none.

    Attributes that are neither numbers, texts, flags nor empty are left out.
    """
    try:
        data = _pickle(path)
        if any(
            op.name in PUTS and (arg or 0) > len(data) for op, arg, _ in pickletools.genops(data)
        ):
            raise ValueError("a place beyond the pickle's length")
        found = _Plain(io.BytesIO(data)).load()
        if isinstance(found, Thing):
            rows = ((k, _value(v)) for k, v in vars(found).items() if isinstance(k, str))
            return {k: v for k, v in rows if v is None or isinstance(v, PLAIN)}
    except (
        pickle.UnpicklingError, zipfile.BadZipFile, EOFError, LookupError, TypeError,
        AttributeError, OverflowError, MemoryError, NotImplementedError, RecursionError,
    ) as error:  # fmt: skip
        raise ValueError(f"no pickle of plain values: {error!r}") from error
    raise ValueError("the pickle holds no object")


def _value(value: object) -> object:
    """A member of an enumeration as its value."""
    if isinstance(value, Thing) and len(value.made_of) == 1 and not vars(value):
        return value.made_of[0]
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
