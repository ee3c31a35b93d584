"""Appends, torn tails, replacement by rename, and disks that are full."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pawl.errors import Exit, PawlError
from pawl.store.files import append_lines, dumps, read_lines, repair, write_atomic

values = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
records = st.lists(st.dictionaries(st.text(max_size=5), values, max_size=4), max_size=6)


def as_written(value: object) -> object:
    """What a reader sees of a value: not-finite numbers as their names."""
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value


@given(rows=records, more=records, cut=st.integers(0, 10_000))
def test_any_torn_tail_is_dropped_and_repaired(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[dict[str, object]],
    more: list[dict[str, object]],
    cut: int,
) -> None:
    """Cut the file at any byte: whole lines are read, appending goes on after them."""
    path = tmp_path_factory.mktemp("lines") / "x.jsonl"
    append_lines(path, rows)
    data = path.read_bytes()
    path.write_bytes(data[: min(cut, len(data))])
    whole = data[: min(cut, len(data))].count(b"\n")
    expected = [{k: as_written(v) for k, v in row.items()} for row in rows]
    assert list(read_lines(path)) == expected[:whole]
    repair(path)
    append_lines(path, more)
    added = [{k: as_written(v) for k, v in row.items()} for row in more]
    assert list(read_lines(path)) == expected[:whole] + added
    assert not repair(path)


@given(st.text(st.characters(codec=None, exclude_categories=()), max_size=20))
def test_any_text_survives_as_valid_utf8(text: str) -> None:
    line = dumps({"text": text}).encode("utf-8", "backslashreplace")
    line.decode("utf-8")
    assert json.loads(line) == {"text": text}
    assert b"\n" not in line


def test_a_broken_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"a":1}\nnot json\n{"a":2}\n')
    with pytest.raises(PawlError) as caught:
        list(read_lines(path))
    assert caught.value.where == f"{path}:2"


def test_full_disk_is_a_clear_resumable_error(tmp_path: Path) -> None:
    path = tmp_path / "steps.jsonl"
    path.symlink_to("/dev/full")
    with pytest.raises(PawlError) as caught:
        append_lines(path, [{"step": 1}])
    assert caught.value.code == Exit.STOPPED
    assert "disk is full" in caught.value.block()
    assert "--resume" in caught.value.hint


def test_a_short_write_leaves_no_half_line(tmp_path: Path) -> None:
    """A file size limit lets part of a line through; it must be taken back."""
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from pawl.errors import PawlError\n"
        "from pawl.store.files import append_lines, write_atomic\n"
        "path = Path(sys.argv[1])\n"
        "append_lines(path, [{'n': 1}])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))\n"
        "for write in (lambda: append_lines(path, [{'text': 'x' * 100}]),\n"
        "              lambda: write_atomic(path, 'y' * 100)):\n"
        "    try: write()\n"
        "    except PawlError as e: print(int(e.code))\n"
    )
    path = tmp_path / "steps.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["4", "4"]
    assert path.read_text() == '{"n":1}\n'
    assert os.listdir(tmp_path) == ["steps.jsonl"]


def test_write_atomic_keeps_the_old_file_on_failure(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    write_atomic(path, "old")
    (tmp_path / "run.json.tmp").symlink_to("/dev/full")
    with pytest.raises(PawlError, match="disk is full"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["run.json"]
