"""What holds for every library's log: tables, signatures, broken files, lines of odd length.

Left out: the formats one by one (test_logs_verl.py, test_logs_frameworks.py).
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from framework_logs import (
    VERL,
    log_of,
    nemo_block,
    openrlhf_line,
    prime_rows,
    ray,
    verl_line,
    write,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from pawl.config.options import RunConfig
from pawl.doctor.diagnose import diagnose
from pawl.errors import PawlError
from pawl.logs.console import Printed, entries, opening, worker
from pawl.logs.log import option_name
from pawl.logs.names import library_of
from pawl.logs.recognise import read_logs
from pawl.metrics import CATALOGUE

STORE = Path(__file__).resolve().parent.parent / "pawl" / "store"
TABLES = sorted(STORE.glob("names_*.toml"))


@pytest.mark.parametrize("path", TABLES, ids=lambda p: p.stem)
def test_tables_name_known_metrics_and_options(path: Path) -> None:
    table = tomllib.loads(path.read_text("utf-8"))
    unknown = [row["name"] for row in table.get("metric", ()) if row["name"] not in CATALOGUE]
    assert set(unknown) <= {""}, "an empty name keeps the source's"
    for name in table.get("option", {}).values():
        section: object = RunConfig()
        for part in name.split("."):
            assert hasattr(section, part), name
            section = getattr(section, part)


def test_a_key_means_what_its_own_library_says(tmp_path: Path) -> None:
    """`critic/kl` and `kl` are taken by the table of the file's library, never by another's."""
    verl = (
        "\n".join(f"step:{i} - actor/pg_loss:0.1 - response_clip_ratio:0.5" for i in range(4))
        + "\n"
    )
    assert "length/truncated_frac" not in log_of(tmp_path, verl).series
    assert option_name("verl", "optim.lr") == "actor_rollout_ref.actor.optim.lr"
    assert option_name("openrlhf", "rollout.group_size") == "n_samples_per_prompt"
    assert option_name("prime", "optim.lr") == "", "not read, so no name is made up"


def test_signatures_tell_libraries_apart() -> None:
    assert library_of(VERL) == "verl"
    assert library_of(["reward", "loss", "kl"]) == "any"
    assert library_of([]) == "any"
    ppo_of_trl = ["val/ratio", "policy/entropy_avg", "policy/clipfrac_avg", "loss/policy_avg"]
    assert library_of([*ppo_of_trl, "objective/kl"]) != "open_instruct"
    roll = [
        "actor/pg_loss",
        "critic/score/mean",
        "actor/approxkl",
        "actor/policykl",
        "system/tps_gpu",
    ]
    assert library_of([*roll, "critic/entropy/mean"]) == "roll"
    assert library_of(["train/policy_loss", "train/actor_lr", "train/reward"]) == "openrlhf"


def test_order_of_columns_changes_no_meaning(tmp_path: Path) -> None:
    keys = list(VERL)
    texts = []
    for order in (keys, keys[::-1]):
        rows = [f"step:{i} - " + " - ".join(f"{k}:{VERL[k]}" for k in order) for i in range(1, 4)]
        texts.append("\n".join(rows) + "\n")
    one, two = (log_of(tmp_path, text, f"{i}.log") for i, text in enumerate(texts))
    assert {n: s.source for n, s in one.series.items()} == {
        n: s.source for n, s in two.series.items()
    }


def test_pieces_of_console_lines() -> None:
    assert worker("(TaskRunner pid=3) hello [repeated 2x across cluster]") == (
        "(TaskRunner pid=3)",
        "hello ",
    )
    assert worker("(hello) pid=3") == ("", "(hello) pid=3")
    text = "{'a': 1, \"b\": np.float64(-2.5e-3), 'c': 'text', 'd': tensor(3.), 'e': [1], 'f': nan}"
    found = entries(text, Printed())
    assert found["a"] == 1
    assert found["b"] == -0.0025
    assert found["d"] == 3
    assert np.isnan(found["f"])
    assert "c" not in found


def test_a_head_of_other_words_hides_nothing(tmp_path: Path) -> None:
    """The first step may come after megabytes of start-up messages."""
    noise = "INFO 09-14 10:00:00 loader.py:1] Loading weights\n" * 20_000
    log = log_of(tmp_path, noise + "\n".join(verl_line(i) for i in range(1, 5)) + "\n")
    assert log.library == "verl"
    assert list(log.step_N) == [1, 2, 3, 4]
    assert len(opening(tmp_path / "run.log", "x")) > len(noise)


SAMPLES = {
    "verl": "\n".join(ray(verl_line(i)) for i in range(1, 4)) + "\n",
    "verl file": "\n".join(json.dumps({"step": i, "data": VERL}) for i in range(3)) + "\n",
    "openrlhf": "\n".join(openrlhf_line(i) for i in range(1, 4)) + "\n",
    "prime": "\n".join(json.dumps(row) for i in range(3) for row in prime_rows(i)) + "\n",
    "nemo": "".join(nemo_block(i, 0.1 * i) for i in (1, 2, 3)),
}


@pytest.mark.parametrize("kind", SAMPLES)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_cut_or_spoilt_files_give_a_log_or_a_message(
    tmp_path_factory: pytest.TempPathFactory, kind: str, data: st.DataObject
) -> None:
    body = SAMPLES[kind].encode()
    cut = data.draw(st.integers(0, len(body)))
    junk = data.draw(st.binary(max_size=40))
    where = data.draw(st.integers(0, cut))
    path = tmp_path_factory.mktemp("cut") / "run.log"
    path.write_bytes(body[:where] + junk + body[where:cut])
    try:
        logs = read_logs(path)
    except PawlError:
        return
    for log in logs:
        diagnose(log)


LONG = {
    "spaces": "step:1 - actor/lr:1" + " " * 200_000 + "x",
    "digits": "step:1 - actor/pg_loss:" + "1" * 200_000 + "x",
    "words": "\u256d Metrics\n\u2502 " + "a" * 200_000 + " b: 1\n\u2570",
    "equals": "Training Results:\n \u2022 Loss: 1\n" + "=" * 200_000,
    "braces": '"actor/pg_loss" ' + ' {"a":' * 40_000 + "}",
    "quotes": "Global step 1: {'" + "'a': " * 40_000,
}


@pytest.mark.parametrize("kind", LONG)
def test_long_odd_lines_are_read_in_passing(tmp_path: Path, kind: str) -> None:
    """Patterns that try every place against every other would not come back from these."""
    try:
        read_logs(write(tmp_path, LONG[kind] + "\n"))
    except PawlError as error:
        assert error.what
