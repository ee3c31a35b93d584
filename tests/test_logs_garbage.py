"""Whatever a file holds: a log or a PawlError, never another exception; and the same for reports.

Left out: that what is read is right (test_logs_*.py).
"""

from __future__ import annotations

import gzip
import json
import math
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pawl.doctor.diagnose import diagnose
from pawl.doctor.report_text import lines
from pawl.errors import PawlError
from pawl.logs.log import Log
from pawl.logs.recognise import read_logs, search

ROWS = [
    {
        "step": i,
        "reward": 0.1 * i,
        "loss": 0.5 / (i + 1),
        "kl": 0.01 * i,
        "grad_norm": 1.0,
        "note": "caf\u00e9 | a, b; \t{}",
        "deep": {"a": {"b": i}, "rows": [{"x": 1}, {"x": 2}]},
    }
    for i in range(12)
]
CELLS = [[row["step"], row["reward"], row["loss"]] for row in ROWS]
BODIES = {
    "lines": "\n".join(json.dumps(row) for row in ROWS) + "\n",
    "list": json.dumps(ROWS),
    "pretty": json.dumps(ROWS, indent=2),
    "state": json.dumps({"best": None, "log_history": ROWS, "max_steps": 12}, indent=2),
    "flat state": json.dumps({"log_history": ROWS}),
    "object": json.dumps({"source": "x", "metrics": {"reward": 0.5, "eval": {"n": 3}}}),
    "columns": json.dumps({"config": {"lr": 1.0}, "loss": [1.0, 0.5], "reward": [0.1, 0.2]}),
    "by place": json.dumps({f"epoch_{i}": {"reward": i / 10, "x": [1]} for i in range(4)}),
    "pairs": json.dumps({"reward": [[1, 0.5], [2, 0.6]], "loss": {"1": 0.5, "2": 0.25}}),
    "aligned": "   epoch  Avg reward  loss\n0  1  0.5  2\n1  2  NaN  1.5\n",
    "wide csv": "metric,Epoch 1,Epoch 2\nReward,0.5,0.6\nLoss,2,n/a\n",
    "text": "".join(f"step {i}/9: loss=0.{i}, reward: {i} | x\n" for i in range(6)),
    "two lists": json.dumps({"train": ROWS, "eval": ROWS[:3]}),
    "csv": "step,reward,loss\n" + "\n".join(",".join(map(str, row)) for row in CELLS),
    "semicolons": "step;reward;loss\n1;0,5;2\n2;0,6;1\n",
    "tabs": "Step\tTraining Loss\treward\n" + "\n".join("\t".join(map(str, r)) for r in CELLS),
    "long": "run,tag,step,value\na,reward,1,0.5\na,loss,1,2\na,reward,2,0.6\n",
    "markdown": "# Run\n\n| Epoch | Avg Reward | Loss |\n|---|--:|---|\n| 1 | **0.5** | ~2 |\n"
    "| Epoch 2 | 0.6 \u2191 | 1.5 |\n\ntext\n",
    "wide markdown": "| Metric | Epoch 1 | Epoch 2 |\n|---|---|---|\n| Reward | 30% | 0.4 |\n",
}
NUMBERS = st.one_of(
    st.floats(),
    st.integers(),
    st.just(10**400),
    st.none(),
    st.booleans(),
    st.text(max_size=5),
    st.sampled_from(["nan", "Infinity", "1e999", "1,5"]),
    st.lists(st.integers(), max_size=2),
)
NAMES = st.sampled_from(["reward", "loss", "kl", "Entropy", "eval/loss", "x", "", "epoch", "lr"])


LOGS = Path(__file__).parent / "data" / "logs"
WRITTEN = sorted(path for path in LOGS.rglob("*") if path.is_file())  # by the real packages


def report(path: Path) -> list[Log]:
    """The logs behind a path, each diagnosed and reported; none when a PawlError said why not."""
    try:
        logs = read_logs(path)
    except PawlError as e:
        assert e.what
        return []
    for log in logs:
        assert list(lines(diagnose(log)))
    return logs


def written(data: bytes, suffix: str = "") -> list[Log]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"log{suffix}"
        path.write_bytes(data)
        return report(path)


@given(st.binary(max_size=300), st.sampled_from(["", ".json", ".jsonl", ".csv", ".md", ".wandb"]))
@settings(max_examples=150, deadline=None)
def test_any_bytes(data: bytes, suffix: str) -> None:
    written(data, suffix)


@pytest.mark.parametrize(
    "start", ["{", "[", "[{", '{"', '{"log_history": [', "a,b\n1,", "|a|\n|-|\n"]
)
@given(st.text(max_size=60))
@settings(max_examples=30, deadline=None)
def test_text_that_begins_like_a_format(start: str, rest: str) -> None:
    written((start + rest).encode("utf-8", "replace"), ".json")


@pytest.mark.parametrize("name", BODIES)
def test_whole_formats_give_a_log(name: str) -> None:
    assert len(written(BODIES[name].encode(), ".json")) == 1


@pytest.mark.parametrize("name", BODIES)
@given(st.data())
@settings(max_examples=25, deadline=None)
def test_formats_cut_anywhere(name: str, data: st.DataObject) -> None:
    body = BODIES[name].encode()
    cut = data.draw(st.integers(0, len(body)))
    written(body[:cut], data.draw(st.sampled_from(["", ".json", ".csv", ".md"])))


@pytest.mark.parametrize("name", BODIES)
@given(st.data())
@settings(max_examples=25, deadline=None)
def test_formats_with_wrong_bytes(name: str, data: st.DataObject) -> None:
    body = bytearray(BODIES[name].encode())
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at : at + 1] = data.draw(st.binary(max_size=4))
    written(bytes(body))


@pytest.mark.parametrize("file", WRITTEN, ids=lambda path: str(path.relative_to(LOGS)))
@given(st.data())
@settings(max_examples=8, deadline=None)
def test_what_packages_wrote_cut_or_damaged(file: Path, data: st.DataObject) -> None:
    """Alone, and in its folder beside the other files of the same run."""
    packed = file.suffix == ".gz"
    body = bytearray(gzip.decompress(file.read_bytes()) if packed else file.read_bytes())
    if data.draw(st.booleans()):
        body = body[: data.draw(st.integers(0, len(body)))]
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(body)))
        body[at : at + 1] = data.draw(st.binary(max_size=4))
    with tempfile.TemporaryDirectory() as folder:
        whole, parts = Path(folder) / "logs", file.relative_to(LOGS).parts
        if len(parts) > 1:
            shutil.copytree(LOGS / parts[0], whole)
            inner = whole.joinpath(*parts[1:])
        else:
            whole.mkdir()
            inner = whole / (file.stem if packed else file.name)
        inner.write_bytes(body)
        report(inner)
        report(whole)


@pytest.mark.parametrize("code", ["utf-16", "utf-16-le", "utf-32", "latin-1", "utf-8-sig"])
@pytest.mark.parametrize("name", BODIES)
def test_other_encodings(name: str, code: str) -> None:
    logs = written(BODIES[name].encode(code, "replace"))
    assert bool(logs) == (code in ("latin-1", "utf-8-sig"))


@given(
    st.lists(
        st.dictionaries(NAMES, NUMBERS, max_size=5).flatmap(
            lambda row: st.builds(lambda step: {"step": step, **row}, NUMBERS)
        ),
        min_size=1,
        max_size=40,
    ),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_rows_of_mixed_types_and_any_order(rows: list[dict[str, object]], state: bool) -> None:
    body = {"log_history": rows} if state else rows
    written(json.dumps(body).encode(), ".json")
    written("\n".join(json.dumps(row) for row in rows).encode())


@given(
    st.sampled_from([st.floats(-5, 5), st.floats(), st.integers(0, 2).map(float)]).flatmap(
        lambda one: st.lists(one | st.just(math.nan) | st.just(math.inf), min_size=1, max_size=99)
    )
)
@settings(max_examples=100, deadline=None)
def test_series_with_holes(values: list[float]) -> None:
    rows = [{"step": i // 2, "reward": v, "loss": v, "kl": v} for i, v in enumerate(values)]
    assert len(written(json.dumps(rows).encode())) == 1


@pytest.mark.parametrize(
    "body",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"log_history": [' + '{"a":' * 100_000,
        '{"log_history": [' + "[" * 100_000,
        '{"a": ' + "9" * 10_000 + "}",
        '{"a": 1e99999, "reward": -1e99999}',
        '{"reward": "\\ud800"}\n{"reward": 1}\n',
        "{}",
        "[]",
        "[{}]",
        "[1, 2, 3]",
        '{"log_history": []}',
        '{"log_history": {}}',
        '{"log_history": [1, null, "x"]}',
        '{"reward": {"reward": {"reward": 1}}}',
        "null",
        "\ufeff",
        "\n\n\n",
        "a,b",
        "1,2\n3,4\n",
        "a,a\n1,2\n",
        ",\n1,2\n",
        "| | |\n|-|-|\n| 1 | 2 |\n",
        "| Epoch | Epoch |\n|-|-|\n| 1 | 2 |\n",
    ],
)
def test_odd_texts(body: str) -> None:
    written(body.encode("utf-8", "surrogatepass"), ".json")
    written(body.encode("utf-8", "surrogatepass"))


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "zip").write_bytes(b"PK\x05\x06" + bytes(18))
    (tmp_path / "bin").write_bytes(bytes(range(256)) * 1000)
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "loop").symlink_to("..")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "wide").write_bytes(BODIES["csv"].encode("utf-16"))
    said = {}
    for name in ("empty", "zip", "bin", "a", "folder", "pipe", "none", "wide", "\0"):
        with pytest.raises(PawlError) as e:
            search(tmp_path / name)
        said[name] = e.value.what
    assert said == {
        "empty": "the file is empty",
        "zip": "the file is an empty zip archive",
        "bin": "no training log that Pawl knows",
        "a": "cannot be read: Too many levels of symbolic links",
        "folder": "no training log in this folder",
        "pipe": "neither a file nor a folder",
        "none": "no such file or folder",
        "wide": "the file is UTF-16 text",
        "\0": said["\0"],
    }
    assert said["\0"].startswith("cannot be read")


def test_an_unreadable_file_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "log.json"
    path.write_text(BODIES["list"])
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(PawlError, match="cannot be read: Permission denied"):
        read_logs(path)


@pytest.mark.parametrize(
    "text", ["lorem ipsum 12 dolor\n", '{"lorem": ipsum}\n', "[lorem]\n", '{"']
)
def test_large_unrelated_text_is_given_up(text: str, tmp_path: Path) -> None:
    """A sparse file of a gigabyte behind the text: reading it whole would be seen."""
    path = tmp_path / "big.json"
    path.write_text(text * 5_000)
    with path.open("ab") as file:
        file.truncate(1 << 30)
    read = count_bytes(path)
    assert read < 1 << 28


def count_bytes(path: Path) -> int:
    """Bytes that were read from storage calls while a file was recognised in vain."""
    before = read_so_far()
    with pytest.raises(PawlError):
        read_logs(path)
    return read_so_far() - before


def read_so_far() -> int:
    text = Path("/proc/self/io").read_text()
    return int(text.split("rchar:")[1].split()[0])


def test_a_folder_gives_each_log_once(tmp_path: Path) -> None:
    for name in ("c", "a", "b"):
        (tmp_path / f"{name}.json").write_text(BODIES["list"])
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "x").write_text(BODIES["csv"])
    (tmp_path / "deep" / "again").symlink_to(tmp_path)
    (tmp_path / "notes.txt").write_text("nothing here")
    (tmp_path / "config.json").write_text('{"hidden_size": 64, "learning_rate": 0.1}')
    (tmp_path / "train.py").write_text(BODIES["text"])
    (tmp_path / ".hidden.json").write_text(BODIES["list"])
    found = search(tmp_path)
    assert [log.path.name for log in found.logs] == ["a.json", "b.json", "c.json", "x"]
    assert [(path.name, why) for path, why in found.skipped] == [
        ("config.json", "no metric that Pawl knows"),
        ("notes.txt", "no training log that Pawl knows"),
    ]
