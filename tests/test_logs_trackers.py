"""TensorBoard, W&B and Trackio: files that the packages wrote, and what damage leaves of them.

One GRPO run of TRL reported to all of them (bench/fixtures.py); charts and histories exported from
W&B are built here. Left out: trainer_state.json by itself (test_logs_trl.py).
"""

from __future__ import annotations

import gzip
import json
import math
import shutil
import sqlite3
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pawl.errors import PawlError
from pawl.logs.log import Log
from pawl.logs.recognise import read_logs
from pawl.logs.wire import fields, masked_crc, signed, varint

LOGS = Path(__file__).parent / "data" / "logs"
STATE = LOGS / "trl" / "checkpoint-6" / "trainer_state.json"
EVENTS = LOGS / "tensorboard" / "events.out.tfevents.1700000000.host.1.0"
TRL_EVENTS = LOGS / "trl" / "runs" / "first"


def unpacked(folder: Path, name: str) -> Path:
    path = folder / name
    path.write_bytes(gzip.decompress((LOGS / f"{name}.gz").read_bytes()))
    return path


def one(path: Path) -> Log:
    (log,) = read_logs(path)
    return log


def record(data: bytes) -> bytes:
    head = struct.pack("<Q", len(data))
    return head + struct.pack("<I", masked_crc(head)) + data + struct.pack("<I", masked_crc(data))


def number(field: int, kind: int, body: bytes) -> bytes:
    return bytes([field << 3 | kind]) + body


def length(n: int) -> bytes:
    out = b""
    while n > 0x7F:
        out, n = out + bytes([n & 0x7F | 0x80]), n >> 7
    return out + bytes([n])


def nested(field: int, body: bytes) -> bytes:
    return number(field, 2, length(len(body)) + body)


def event(step: int, *values: bytes) -> bytes:
    wall = number(1, 1, struct.pack("<d", 1e9 + step))
    inside = b"".join(nested(1, value) for value in values)
    return record(wall + number(2, 0, length(step)) + nested(5, inside))


def scalar(tag: str, value: float) -> bytes:
    return nested(1, tag.encode()) + number(2, 5, struct.pack("<f", value))


def tensor(tag: str, body: bytes) -> bytes:
    return nested(1, tag.encode()) + nested(8, body)


@pytest.mark.parametrize("kind", ["tensorboard", "wandb", "trackio"])
def test_every_tracker_tells_the_same_as_the_state(tmp_path: Path, kind: str) -> None:
    path = {
        "tensorboard": TRL_EVENTS,
        "wandb": unpacked(tmp_path, "run-grpo.wandb"),
        "trackio": unpacked(tmp_path, "trackio_grpo.db"),
    }[kind]
    log, state = one(path), one(STATE)
    assert (log.library, log.kind) == ("trl", "policy")
    assert log.step_N.tolist() == state.step_N.tolist()
    for name, series in state.series.items():
        if name in ("reward/spread", "time/step_s"):
            continue
        found = log.series[name]
        assert found.source.removeprefix("train/").replace("eval/", "eval_") == series.source
        assert found.row_N.tolist() == series.row_N.tolist(), name
        assert found.value_N == pytest.approx(series.value_N, rel=1e-6), name
    assert "reward/std" in log.series, "the options say that the version is 0.27 or newer"
    assert log.config["rollout.max_tokens"] == 12
    assert log.config["algo.kl_coef"] == 0.04
    assert not any("repeated" in note for note in log.notes)


def test_event_files_of_one_folder_are_one_log() -> None:
    log = one(LOGS / "tensorboard")
    assert log.step_N.tolist() == list(range(1, 11))
    rewards = {**log.series, **log.unknown}["reward/mean"]
    assert rewards.value_N.tolist() == [float(step) for step in range(1, 11)]
    (entropy,) = [s for s in log.series.values() if s.source == "actor/entropy"]
    assert entropy.value_N[4] == pytest.approx(1 / 5)
    assert entropy.value_N[5] == pytest.approx(1 / 6 + 1), "of a repeated step the later value"
    assert [(e.step, e.kind) for e in log.events] == [(6, "resume")]


def test_event_files_of_inner_folders_are_logs_of_their_own(tmp_path: Path) -> None:
    for name in ("a", "a/b"):
        (tmp_path / name).mkdir()
        shutil.copy(EVENTS, tmp_path / name)
    (tmp_path / "a" / "empty").mkdir()
    (tmp_path / "a" / "empty" / "a.tfevents").write_bytes(record(number(1, 1, bytes(8))))
    assert [log.path.name for log in read_logs(tmp_path)] == ["a", "b"]


def test_a_spike_among_many_events_stays(tmp_path: Path) -> None:
    path = tmp_path / "events.out.tfevents.1.host.1.0"
    n = 12_000
    values = [100.0 if i == 7_777 else 0.5 for i in range(n)]
    path.write_bytes(b"".join(event(i, scalar("reward", v)) for i, v in enumerate(values)))
    found = one(path).series["reward/mean"].value_N
    assert len(found) == n
    assert found[7_777] == 100.0


@pytest.mark.parametrize(
    ("body", "want"),
    [
        (number(1, 0, b"\x01") + nested(4, struct.pack("<f", 2.5)), 2.5),
        (number(1, 0, b"\x01") + nested(5, struct.pack("<f", 2.5)), 2.5),
        (number(1, 0, b"\x01") + number(5, 5, struct.pack("<f", 2.5)), 2.5),
        (number(1, 0, b"\x02") + nested(6, struct.pack("<d", -0.1)), -0.1),
        (number(1, 0, b"\x03") + nested(7, b"\x07"), 7.0),
        (number(1, 0, b"\x09") + number(10, 0, b"\xff" * 9 + b"\x01"), -1.0),
        (number(1, 0, b"\x09") + nested(4, struct.pack("<q", -5)), -5.0),
        (number(1, 0, b"\x0e") + nested(4, b"\x20\x40"), 2.5),
        (number(1, 0, b"\x13") + nested(4, struct.pack("<e", 2.5)), 2.5),
        (number(1, 0, b"\x13") + nested(13, length(0x4100)), 2.5),
    ],
)
def test_tensors_of_one_number(tmp_path: Path, body: bytes, want: float) -> None:
    path = tmp_path / "a.tfevents"
    path.write_bytes(event(1, tensor("loss", body), scalar("reward", 1.0)))
    assert one(path).series["loss/total"].value_N.tolist() == [want]


def test_what_is_no_number_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.tfevents"
    many = number(1, 0, b"\x01") + nested(4, struct.pack("<ff", 1.0, 2.0))
    image = nested(1, b"picture") + nested(4, b"\x08\x01")
    broken = record(number(5, 2, b"\x7fnothing"))
    bad = float("nan")
    values = (tensor("values", many), image, scalar("reward", bad), scalar("loss", math.inf))
    path.write_bytes(event(1, *values) + broken + event(2, scalar("reward", 1.0)))
    log = one(path)
    assert set(log.series) == {"reward/mean", "loss/total"} and not log.unknown
    assert math.isnan(log.series["reward/mean"].value_N[0])
    assert any("1 records are no events" in note for note in log.notes)


@given(st.floats(0, 1), st.integers(0, 255))
@settings(max_examples=40, deadline=None)
def test_torn_and_damaged_event_files(share: float, bit: int) -> None:
    data = bytearray(EVENTS.read_bytes())
    at = int(share * (len(data) - 1))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.tfevents"
        for torn in (True, False):
            path.write_bytes(data[:at] if torn else data[:at] + bytes([bit]) + data[at + 1 :])
            try:
                log = one(path)
            except PawlError:
                continue
            columns = {s.source: s for s in [*log.series.values(), *log.unknown.values()]}
            if torn and "critic/score/mean" in columns:
                found = columns["critic/score/mean"].value_N.tolist()
                assert found == [float(i) for i in range(1, len(found) + 1)]
            elif "critic/score/mean" in columns:
                assert set(columns["critic/score/mean"].value_N) <= {float(i) for i in range(1, 8)}
            if not torn and data[at] != bit:
                assert log.notes, "no damage goes unseen"


def test_numbers_of_the_wire() -> None:
    """CRC-32C of the nine digits is 0xE3069283 (RFC 3720, appendix B.4)."""
    crc = 0xE3069283
    assert masked_crc(b"123456789") == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    assert varint(b"\xac\x02", 0) == (300, 2)
    assert signed((1 << 64) - 1) == -1
    assert list(fields(b"\x08\x05\x12\x01a")) == [(1, 5), (2, b"a")]
    for broken in (b"\x08", b"\x12\x05a", b"\x0b", b"\xff" * 11):
        with pytest.raises(ValueError, match="breaks off|no field"):
            list(fields(broken))


def test_a_run_file_of_wandb(tmp_path: Path) -> None:
    log = one(unpacked(tmp_path, "run-plain.wandb"))
    assert log.step_N.tolist() == list(range(1, 41))
    reward = log.series["reward/mean"].value_N
    assert math.isnan(reward[6]) and reward[39] == 1.0
    assert log.series["loss/total"].value_N.tolist() == [math.inf, -0.5, -0.5, -0.5, -0.5]
    kl = {**log.series, **log.unknown}.get("stats.kl") or log.series["policy/kl_ref"]
    assert kl.source == "stats.kl" and kl.value_N[0] == 0.01
    assert log.config["optim.lr"] == 1e-5
    assert 8 in [*log.other_config.values(), *log.config.values()]
    assert not log.notes and not log.events


def test_a_run_folder_of_wandb_knows_the_version(tmp_path: Path) -> None:
    run = tmp_path / "wandb" / "offline-run-20260101_000000-grpo"
    (run / "files").mkdir(parents=True)
    unpacked(run, "run-grpo.wandb")
    (run / "files" / "requirements.txt").write_text("torch==2.13.0\ntrl==1.16.0\n")
    for path in (tmp_path, run, run / "run-grpo.wandb"):
        log = one(path)
        assert log.version == "1.16.0"
        assert log.series["policy/kl_ref"].aggregation == "mean over the tokens of all processes"


@pytest.mark.parametrize("name", ["run-grpo.wandb", "run-plain.wandb"])
def test_half_a_run_file(tmp_path: Path, name: str) -> None:
    path = unpacked(tmp_path, name)
    whole = one(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    log = one(path)
    assert 0 < len(log.step_N) < len(whole.step_N)
    reward = log.series["reward/mean"].value_N
    want = whole.series["reward/mean"].value_N[: len(reward)]
    assert np.array_equal(reward, want, equal_nan=True)
    assert any("breaks off" in note for note in log.notes)


@given(st.floats(0, 1), st.integers(0, 255))
@settings(max_examples=40, deadline=None)
def test_torn_and_damaged_run_files(share: float, bit: int) -> None:
    data = bytearray(gzip.decompress((LOGS / "run-grpo.wandb.gz").read_bytes()))
    at = int(share * (len(data) - 1))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.wandb"
        for torn in (True, False):
            path.write_bytes(data[:at] if torn else data[:at] + bytes([bit]) + data[at + 1 :])
            try:
                log = one(path)
            except PawlError:
                continue
            if not torn and data[at] != bit and at >= 7:
                assert any("damaged" in n or "breaks off" in n for n in log.notes)
            for series in log.series.values():
                assert len(series.value_N) <= len(log.step_N)


def test_a_long_run_file_goes_over_blocks(tmp_path: Path) -> None:
    """The GRPO file is longer than a block, so records of it stand in pieces."""
    path = unpacked(tmp_path, "run-grpo.wandb")
    assert path.stat().st_size > 2 * (1 << 15)
    data = bytearray(path.read_bytes())
    data[(1 << 15) + 20] ^= 0xFF
    path.write_bytes(data)
    log = one(path)
    assert any("1 damaged place" in note for note in log.notes)
    assert len(log.series["reward/mean"].value_N) >= 3


def test_a_chart_of_several_runs(tmp_path: Path) -> None:
    path = tmp_path / "wandb_export.csv"
    path.write_text(
        '"Step","first - train/reward","first - train/reward__MIN","first - train/reward__MAX",'
        '"a - b - train/reward","a - b - train/reward__MIN","a - b - train/reward__MAX"\n'
        '"1","0.5","0.5","0.5","","",""\n"2","NaN","NaN","NaN","0.25","0.25","0.25"\n'
    )
    first, second = read_logs(path)
    assert 'run "first"' in first.format and 'run "a - b"' in second.format
    assert first.series["reward/mean"].value_N[0] == 0.5
    assert math.isnan(first.series["reward/mean"].value_N[1])
    assert second.step_N.tolist() == [2]
    assert second.series["reward/mean"].source == "train/reward"


@pytest.mark.parametrize("axis", ["Step", "Wall Time"])
def test_a_line_of_a_chart_is_one_step(tmp_path: Path, axis: str) -> None:
    names = ("reward/total", "by_group/frac_all_good", "by_group/frac_all_bad")
    lines = [",".join([axis, *(f"run - env/all/{name}" for name in names)])]
    lines += [f"{i if axis == 'Step' else f'iter_{i}'},0.4,0.5,0.1" for i in range(1, 21)]
    path = tmp_path / "wandb_export.csv"
    path.write_text("\n".join(lines) + "\n")
    (log,) = read_logs(path)
    assert log.library == "tinker"
    assert log.step_N.tolist() == list(range(1, 21))
    assert log.series["group/zero_std_frac"].value_N == pytest.approx([0.6] * 20)


@pytest.mark.parametrize("form", ["lines", "list", "csv", "columns", "lists"])
def test_a_history(tmp_path: Path, form: str) -> None:
    rows = [
        {"_step": i, "_runtime": 0.5 * i, "_timestamp": 1e9, "reward": i / 4, "kl": None}
        for i in range(4)
    ]
    path = tmp_path / "history"
    if form == "csv":
        lines = [",_step,_runtime,reward", *(f"{i},{i},0.5,{i / 4}" for i in range(4))]
        path = path.with_suffix(".csv")
        path.write_text("\n".join(lines))
    elif form in ("columns", "lists"):
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        numbered = {k: {str(i): x for i, x in enumerate(v)} for k, v in columns.items()}
        path.write_text(json.dumps(columns if form == "lists" else numbered))
    else:
        path.write_text(json.dumps(rows) if form == "list" else "\n".join(map(json.dumps, rows)))
    log = one(path)
    assert "W&B" in log.format
    assert log.step_N.tolist() == [0, 1, 2, 3]
    assert log.series["reward/mean"].value_N.tolist() == [0, 0.25, 0.5, 0.75]


def test_the_spelling_of_trackers_counts_in_any_file(tmp_path: Path) -> None:
    path = tmp_path / "001.csv"
    names = "train/global_step,train/rewards/f/mean,train/reward_std,train/completions/mean_length"
    path.write_text(f"{names},eval/reward\n1,0.5,0.1,20,\n2,0.6,0.2,21,0.7\n")
    log = one(path)
    assert log.library == "trl"
    assert log.series["component/f"].source == "train/rewards/f/mean"
    assert log.series["eval/reward_mean"].value_N.tolist() == [0.7]
    exported = [{"_step": 9 * i, "_timestamp": 1e9, "train/global_step": i} for i in (1, 2)]
    rows = [{**row, "train/reward_std": 0.1, "train/rewards/f/mean": 0.2} for row in exported]
    path = tmp_path / "001.json"
    path.write_text(json.dumps(rows))
    assert one(path).step_N.tolist() == [1, 2]


def test_every_run_of_a_trackio_file(tmp_path: Path) -> None:
    path = unpacked(tmp_path, "trackio_plain.db")
    first, second = read_logs(path)
    assert 'run "one"' in first.format and 'run "two"' in second.format
    assert first.step_N.tolist() == [0, 1, 2, 3, 4]
    assert first.series["reward/mean"].value_N.tolist() == [0, 1, 2, math.inf, 4]
    assert second.series["reward/mean"].value_N[4] == -4
    assert np.isnan(first.series["loss/total"].value_N).all()
    assert first.config["optim.lr"] == 1e-5
    assert read_logs(tmp_path)[0].format == first.format


def test_a_trackio_file_is_not_changed(tmp_path: Path) -> None:
    path = unpacked(tmp_path, "trackio_grpo.db")
    before = path.read_bytes()
    read_logs(path)
    assert path.read_bytes() == before


def test_alerts_of_trackio_are_events(tmp_path: Path) -> None:
    path = unpacked(tmp_path, "trackio_plain.db")
    with sqlite3.connect(path) as connection:
        (run,) = connection.execute("SELECT run_id FROM metrics LIMIT 1").fetchone()
        connection.execute(
            "INSERT INTO alerts (run_id, timestamp, run_name, title, text, level, step)"
            " VALUES (?, 'now', 'one', 'KL', 'too high', 'warn', 3)",
            (run,),
        )
    connection.close()
    log = read_logs(path)[0]
    assert [(e.step, e.kind, e.text) for e in log.events] == [(3, "alert", "warn: KL: too high")]


def test_other_databases_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE metrics (a INTEGER)")
    connection.close()
    with pytest.raises(PawlError):
        read_logs(path)
    data = gzip.decompress((LOGS / "trackio_plain.db.gz").read_bytes())
    path.write_bytes(data[: len(data) // 2])
    try:
        assert all(log.notes or len(log.step_N) for log in read_logs(path))
    except PawlError as error:
        assert error.what


@given(st.floats(0, 1), st.binary(min_size=1, max_size=50))
@settings(max_examples=25, deadline=None)
def test_damaged_databases(share: float, bytes_: bytes) -> None:
    data = gzip.decompress((LOGS / "trackio_plain.db.gz").read_bytes())
    at = int(share * len(data))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.db"
        path.write_bytes(data[:at] + bytes_ + data[at + len(bytes_) :])
        try:
            read_logs(path)
        except PawlError as error:
            assert error.what


def test_a_folder_of_everything(tmp_path: Path) -> None:
    shutil.copytree(LOGS, tmp_path / "logs")
    found = {log.path.name for log in read_logs(tmp_path / "logs")}
    assert {"trl", "tensorboard", "trl_dpo.json", "trl_stdout.log"} <= found
