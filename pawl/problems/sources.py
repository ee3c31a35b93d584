"""Rows of a file, a folder or a hub data set in their order, each with its place.

JSONL is read line by line, Parquet a batch of rows at a time, a hub data set from its own memory
map. Left out: what the rows mean (`formats.py`), and who keeps them (`problem_set.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path

from pawl.errors import PawlError, how_to_install, near_file

_EXAMPLE = ".meta/example.ml"
JSON_SUFFIXES = (".jsonl", ".json", ".ndjson")
SUFFIXES = (*JSON_SUFFIXES, ".parquet")

Placed = tuple[str, Mapping[str, object]]  # the place that a message names, and the row


def json_lines(path: Path) -> Iterator[Placed]:
    """Objects of a JSONL file; blank lines are skipped and counted.

    Raises PawlError with file:line at a line that is no JSON object.
    """
    first = True
    try:
        with path.open("rb") as f:
            for number, raw in enumerate(f, start=1):
                if raw.strip():
                    where = f"{path}:{number}"
                    yield where, _object(raw, where, first)
                    first = False
    except OSError as error:
        raise PawlError(f"cannot read: {error.strerror}", str(path)) from error


def _object(raw: bytes, where: str, first: bool) -> Mapping[str, object]:
    """One line; a byte order mark may stand before the first."""
    try:
        value = json.loads(raw.decode("utf-8-sig" if first else "utf-8"))
    except UnicodeDecodeError as error:
        raise PawlError(f"not UTF-8: {error.reason}", where) from error
    except (ValueError, RecursionError) as error:
        raise PawlError(
            f"not JSON: {error}", where, "a JSONL file holds one whole JSON object on each line"
        ) from error
    if not isinstance(value, dict):
        raise PawlError(f"a JSON {type(value).__name__}, expected an object", where)
    return value


def parquet(path: Path) -> Iterator[Placed]:
    """Rows of a Parquet file, a batch of them in memory at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            rows = (row for batch in file.iter_batches() for row in batch.to_pylist())
            for number, row in enumerate(rows, start=1):
                yield f"{path}:row {number}", row
    except (pa.ArrowException, OSError) as error:
        raise PawlError(f"not a Parquet file: {error}", str(path)) from error


def exercism(folder: Path) -> Iterator[Placed]:
    """A row of an exercise of Exercism's OCaml track."""

    def text(name: str) -> str:
        path = folder / name
        return path.read_text("utf-8", errors="replace") if path.is_file() else ""

    interface = "\n".join(p.read_text("utf-8") for p in sorted(folder.glob("*.mli")))
    told = [text(f".docs/{name}.md") for name in ("introduction", "instructions")]
    told += [f"The answer is a module with this interface:\n\n```ocaml\n{interface}```\n"]
    yield (
        str(folder),
        {
            "id": folder.name,
            "lang": "ocaml",
            "prompt": "\n".join(filter(None, told)),
            "signature": interface,
            "tests": text("test.ml"),
            "solution": text(_EXAMPLE),
        },
    )


class Unreachable(PawlError):
    """The hub did not answer: the data set may exist, but not for us and not now."""


def hub(name: str) -> Iterator[Placed]:
    """A Hugging Face data set: `owner/name`, with `:split` and `@revision` if wanted."""
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
    for number, row in enumerate(loaded, start=1):
        yield f"{name}:row {number}", row


def open_source(name: str) -> Iterator[Placed]:
    """Rows of a file, folder or hub data set by name. Raises PawlError when there is none.

    A folder is all its JSONL and Parquet files in the order of their names, or an exercise of
    Exercism's OCaml track, or several of them.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        exercises = [p.parent.parent for at in ("", "*/") for p in sorted(path.glob(at + _EXAMPLE))]
        if exercises:
            return chain.from_iterable(map(exercism, exercises))
        parts = [p for p in sorted(path.iterdir()) if p.suffix in (".jsonl", ".parquet")]
        if not parts:
            raise PawlError("no .jsonl or .parquet file in the folder", str(path))
        return chain.from_iterable(_file_rows(p) for p in parts)
    if path.is_file():
        return _file_rows(path)
    parts_of = name.partition(":")[0].partition("@")[0].split("/")
    if path.suffix or len(parts_of) != 2 or name.startswith((".", "/", "~")):
        hint = "a .jsonl or .parquet file, starter-ocaml, starter-python or OWNER/NAME on the hub"
        near = near_file(path, ("starter-ocaml", "starter-python"))
        raise PawlError("no such file or problem set", name, near or f"give {hint}")
    return hub(name)


def _file_rows(path: Path) -> Iterator[Placed]:
    if path.suffix == ".parquet":
        return parquet(path)
    if path.suffix in JSON_SUFFIXES:
        return json_lines(path)
    raise PawlError(
        f"unknown kind of file {path.suffix!r}", str(path), "give a .jsonl or .parquet file"
    )
