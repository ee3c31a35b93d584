"""Rows of a file or hub data set by index, without holding the data in memory.

JSONL keeps one byte offset per line, Parquet one row group at a time, a hub data set its own memory
map. Left out: what the rows mean (`formats.py`).
"""

from __future__ import annotations

import bisect
import json
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from pawl.errors import PawlError, how_to_install

JSON_SUFFIXES = (".jsonl", ".json", ".ndjson")
SUFFIXES = (*JSON_SUFFIXES, ".parquet")


class Source(Protocol):
    """Rows by index; `where` is the place that a message names."""

    def __len__(self) -> int: ...

    def row(self, i: int) -> Mapping[str, object]: ...

    def where(self, i: int) -> str: ...


class JsonLines:
    """A JSONL file; blank lines are skipped and line numbers stay those of the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offsets = array("Q")
        self._lines = array("Q")
        offset = 0
        with path.open("rb") as f:
            for number, line in enumerate(f, start=1):
                if line.strip():
                    self._offsets.append(offset)
                    self._lines.append(number)
                offset += len(line)
        self._file = path.open("rb")

    def __len__(self) -> int:
        return len(self._offsets)

    def where(self, i: int) -> str:
        return f"{self.path}:{self._lines[i]}"

    def row(self, i: int) -> Mapping[str, object]:
        """Raises PawlError with file:line when the line is no JSON object."""
        self._file.seek(self._offsets[i])
        raw = self._file.readline()
        try:
            value = json.loads(raw.decode("utf-8-sig" if i == 0 else "utf-8"))
        except UnicodeDecodeError as error:
            raise PawlError(f"not UTF-8: {error.reason}", self.where(i)) from error
        except (ValueError, RecursionError) as error:
            raise PawlError(
                f"not JSON: {error}",
                self.where(i),
                "a JSONL file holds one whole JSON object on each line",
            ) from error
        if not isinstance(value, dict):
            raise PawlError(f"a JSON {type(value).__name__}, expected an object", self.where(i))
        return value


class Parquet:
    """A Parquet file; the row group read last stays in memory."""

    def __init__(self, path: Path) -> None:
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError as error:
            raise PawlError(
                "reading Parquet needs pyarrow", str(path), "pip install pyarrow"
            ) from error
        self.path = path
        try:
            self._file = pq.ParquetFile(path)
        except (pa.ArrowException, OSError) as error:
            raise PawlError(f"not a Parquet file: {error}", str(path)) from error
        counts: list[int] = [
            self._file.metadata.row_group(g).num_rows for g in range(self._file.num_row_groups)
        ]
        self._starts: list[int] = [sum(counts[:g]) for g in range(len(counts))]
        self._n = sum(counts)
        self._held = -1
        self._rows: list[Mapping[str, object]] = []

    def __len__(self) -> int:
        return int(self._n)

    def where(self, i: int) -> str:
        return f"{self.path}:row {i + 1}"

    def row(self, i: int) -> Mapping[str, object]:
        group = bisect.bisect_right(self._starts, i) - 1
        if group != self._held:
            self._rows = list(self._file.read_row_group(group).to_pylist())
            self._held = group
        return self._rows[i - self._starts[group]]


class Unreachable(PawlError):
    """The hub did not answer: the data set may exist, but not for us and not now."""


class Hub:
    """A Hugging Face data set: `owner/name`, with `:split` and `@revision` if wanted."""

    def __init__(self, name: str) -> None:
        try:
            import datasets
        except ImportError as error:
            raise PawlError(
                "reading a hub data set needs the datasets library",
                name,
                f"{how_to_install('hub')}, or give a JSONL or Parquet file",
            ) from error
        path, _, split = name.partition(":")
        path, _, revision = path.partition("@")
        self.name = name
        try:
            loaded = datasets.load_dataset(path, split=split or None, revision=revision or None)
        except (OSError, ValueError, RuntimeError) as error:
            kind = Unreachable if isinstance(error, ConnectionError) else PawlError
            raise kind(
                f"cannot load the data set: {type(error).__name__}: {str(error)[:300]}",
                name,
                "check the name and the network, or download it and give the JSONL or Parquet file",
            ) from error
        if isinstance(loaded, dict):
            if "train" not in loaded and len(loaded) != 1:
                splits = ", ".join(sorted(loaded))
                raise PawlError(f"which split? It has {splits}", name, f"write {path}:SPLIT")
            loaded = loaded["train"] if "train" in loaded else next(iter(loaded.values()))
        self._rows = loaded

    def __len__(self) -> int:
        n: int = len(self._rows)
        return n

    def where(self, i: int) -> str:
        return f"{self.name}:row {i + 1}"

    def row(self, i: int) -> Mapping[str, object]:
        row: Mapping[str, object] = self._rows[i]
        return row


class Folder:
    """All JSONL and Parquet files of a folder, in the order of their names, as one."""

    def __init__(self, parts: list[JsonLines | Parquet]) -> None:
        self._parts = parts
        self._starts = [sum(len(p) for p in parts[:k]) for k in range(len(parts))]

    def __len__(self) -> int:
        return sum(len(p) for p in self._parts)

    def _at(self, i: int) -> tuple[JsonLines | Parquet, int]:
        k = bisect.bisect_right(self._starts, i) - 1
        return self._parts[k], i - self._starts[k]

    def where(self, i: int) -> str:
        part, j = self._at(i)
        return part.where(j)

    def row(self, i: int) -> Mapping[str, object]:
        part, j = self._at(i)
        return part.row(j)


def open_source(name: str) -> Source:
    """A file, folder or hub data set by name. Raises PawlError when there is none."""
    path = Path(name).expanduser()
    if path.is_dir():
        parts = [_open_file(p) for p in _files_of(path)]
        if not parts:
            raise PawlError("no .jsonl or .parquet file in the folder", str(path))
        return Folder([p for p in parts if len(p)])
    if path.is_file():
        return _open_file(path)
    parts_of = name.partition(":")[0].partition("@")[0].split("/")
    if path.suffix or len(parts_of) != 2 or name.startswith((".", "/", "~")):
        raise PawlError(
            "no such file",
            name,
            "give .jsonl or .parquet file, starter-ocaml, starter-python or OWNER/NAME on the hub",
        )
    return Hub(name)


def _files_of(path: Path) -> Iterator[Path]:
    return (p for p in sorted(path.iterdir()) if p.suffix in (".jsonl", ".parquet"))


def _open_file(path: Path) -> JsonLines | Parquet:
    try:
        if path.suffix == ".parquet":
            return Parquet(path)
        if path.suffix in JSON_SUFFIXES:
            return JsonLines(path)
    except OSError as error:
        raise PawlError(f"cannot read: {error.strerror}", str(path)) from error
    raise PawlError(
        f"unknown kind of file {path.suffix!r}", str(path), "give a .jsonl or .parquet file"
    )
