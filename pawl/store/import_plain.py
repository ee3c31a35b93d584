"""Plain files: JSON lines, a JSON list of records, a JSON object of named numbers, CSV.

Column names are taken as they are; a map given by the user says what they mean. Left out: formats
of particular libraries, which have importers of their own.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path

from pawl.errors import PawlError
from pawl.store.log import Raw
from pawl.store.table import Table


def looks_like(path: Path, head: str) -> bool:
    """Whether the start of a file is JSON or a table with commas."""
    return head.lstrip()[:1] in ("{", "[") or path.suffix in (".csv", ".tsv")


def read(path: Path) -> Raw:
    """The records of the file; raises PawlError when it holds none."""
    table, notes, config = Table(), list[str](), dict[str, object]()
    if path.suffix in (".csv", ".tsv"):
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","):
                table.add({k: v for k, v in row.items() if k and v not in ("", None)})
        kind = "CSV"
    else:
        text = path.read_text(encoding="utf-8", errors="replace")
        try:
            kind, config = _json(json.loads(text), table), {}
        except ValueError:
            kind = _lines(text, table, notes)
    if not table.n:
        raise PawlError("no records with numbers", str(path), "docs/doctor.md lists the formats")
    return Raw(path, kind, "any", table, config=config, notes=notes)


def _json(body: object, table: Table) -> str:
    """Fill the table from one JSON value; what kind it was."""
    if isinstance(body, list):
        for row in body:
            if isinstance(row, Mapping):
                table.add(row)
        return "JSON list of records"
    if isinstance(body, Mapping):
        lists = [
            v for v in body.values() if isinstance(v, list) and v and isinstance(v[0], Mapping)
        ]
        if len(lists) == 1:
            return _json(lists[0], table)
        table.add(body)
        return "JSON object of named numbers"
    return "JSON"


def _lines(text: str, table: Table, notes: list[str]) -> str:
    """Fill the table from JSON lines; lines that are none are counted."""
    odd = 0
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            odd += bool(line.strip())
            continue
        if isinstance(row, Mapping):
            table.add(row)
    if odd:
        notes.append(f"{odd} lines are no JSON and were left out")
    return "JSON lines"
