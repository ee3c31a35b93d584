"""What TRL writes: states, folders, console, notebooks; versions, options and defaults.

The files of tests/data/logs were written by the packages themselves (bench/fixtures.py); the texts
of older versions are built here. Left out: trackers (test_logs_trackers.py).
"""

from __future__ import annotations

import json
import math
import pickle
import shutil
import tempfile
import zipfile
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pawl.doctor.diagnose import diagnose
from pawl.errors import PawlError
from pawl.logs.log import Log
from pawl.logs.names import names_of
from pawl.logs.pickled import attributes
from pawl.logs.read_trl import options
from pawl.logs.read_trl_folder import from_card
from pawl.logs.recognise import read_logs

LOGS = Path(__file__).parent / "data" / "logs"
STATE = LOGS / "trl" / "checkpoint-6" / "trainer_state.json"
GRPO: dict[str, object] = {
    "reward": 0.5,
    "reward_std": 0.1,
    "kl": 0.01,
    "entropy": 1.0,
    "loss": 0.0,
}


def one(path: Path) -> Log:
    (log,) = read_logs(path)
    return log


def history() -> list[dict[str, object]]:
    rows: list[dict[str, object]] = json.loads(STATE.read_text())["log_history"]
    return rows


def logged(tmp_path: Path, *rows: dict[str, object], **beside: object) -> Log:
    path = tmp_path / "001.json"
    path.write_text(json.dumps({**beside, "log_history": list(rows)}))
    return one(path)


def folder(tmp_path: Path, version: str, rows: list[dict[str, object]], trainer: str) -> Log:
    (tmp_path / "checkpoint-9").mkdir(parents=True)
    body = json.dumps({"global_step": 9, "log_history": rows})
    (tmp_path / "checkpoint-9" / "trainer_state.json").write_text(body)
    card = f"This model was trained with {trainer}, a method\n\n- TRL: {version}\n- Torch: 2.0\n"
    (tmp_path / "README.md").write_text(card)
    return one(tmp_path)


def test_a_state_gives_every_value_as_written() -> None:
    log = one(STATE)
    assert (log.library, log.kind) == ("trl", "policy")
    assert log.step_N.tolist() == [1, 2, 3, 4, 5, 6]
    rows = [row for row in history() if "loss" in row]
    for series in [*log.series.values(), *log.unknown.values()]:
        want = [row[series.source] for row in rows if row.get(series.source) is not None]
        if not series.source.startswith("eval_"):
            assert series.value_N.tolist() == want, series.source
    assert len(log.series["component/short"].value_N) == 3, "null is no value"
    assert log.series["eval/reward_mean"].row_N.tolist() == [3, 5]
    assert log.config["train.steps"] == 6


def test_every_column_that_trl_wrote_is_in_the_tables() -> None:
    patterns = [p for row in names_of("trl")["metric"] for p in row["source"]]
    for name in ("trl/checkpoint-6/trainer_state.json", "trl_dpo.json", "trl_dpo_reward.json"):
        for row in json.loads((LOGS / name).read_text())["log_history"]:
            if "train_runtime" in row or any(key.startswith("eval_") for key in row):
                continue
            for key in row:
                assert key == "step" or any(fnmatchcase(key, p) for p in patterns), key


def test_rows_of_reused_batches_lack_columns() -> None:
    log = one(LOGS / "trl_reuse.json")
    assert log.step_N.tolist() == [1, 2, 3, 4, 5, 6]
    assert log.series["reward/mean"].row_N.tolist() == [0, 2, 4]
    assert len(log.series["loss/total"].value_N) == 6


def test_preferences_and_reward_models() -> None:
    dpo = one(LOGS / "trl_dpo.json")
    assert dpo.kind == "preference"
    assert dpo.series["loss/total"].value_N[0] == pytest.approx(math.log(2), abs=1e-6)
    assert dpo.series["preference/chosen_logp"].aggregation == "summed over the tokens of an answer"
    reward = one(LOGS / "trl_dpo_reward.json")
    assert reward.kind == "reward-model"
    assert reward.series["preference/accuracy"].value_N[0] == 0.875
    assert "reward/mean" not in reward.series, "a mean score of both answers is no success"


@pytest.mark.parametrize("where", ["before", "behind", "late", "bare", "lines"])
def test_the_history_may_stand_anywhere(tmp_path: Path, where: str) -> None:
    rows, path = history(), tmp_path / "001.json"
    body: object = {"source": "somebody", "log_history": rows}
    if where == "behind":
        body = {"log_history": rows, "source": {"log": "somebody"}}
    elif where == "late":
        body = {"config": {"text": "x" * 300_000}, "log_history": rows}
    elif where == "bare":
        body = rows
    text = json.dumps(body) if where != "lines" else "\n".join(map(json.dumps, rows))
    path.write_text(text)
    log, plain = one(path), one(STATE)
    assert log.library == "trl"
    assert set(log.series) == set(plain.series)
    for name, series in plain.series.items():
        assert log.series[name].value_N.tolist() == series.value_N.tolist()


def test_not_a_number_in_every_spelling(tmp_path: Path) -> None:
    path = tmp_path / "001.json"
    path.write_text(
        '{"log_history": [{"step": 1, "loss": NaN, "kl": null, "rewards/f/mean": null},'
        '{"step": 2, "loss": -Infinity, "kl": "nan", "rewards/f/mean": 1.0, "reward": Infinity}]}'
    )
    log = one(path)
    loss = log.series["loss/total"].value_N
    assert math.isnan(loss[0]) and loss[1] == -math.inf
    assert np.isnan(log.series["policy/kl_ref"].value_N).tolist() == [True, True]
    assert log.series["component/f"].value_N.tolist() == [1.0]
    assert log.series["reward/mean"].value_N.tolist() == [math.inf]


def test_a_closing_summary_is_no_step(tmp_path: Path) -> None:
    end: dict[str, object] = {
        "step": 2,
        "train_runtime": 3.5,
        "train_loss": 99.0,
        "total_flos": 1e9,
    }
    log = logged(tmp_path, {"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.4}, end)
    assert log.series["loss/total"].value_N.tolist() == [0.5, 0.4]
    assert not log.unknown


@given(st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_a_torn_state_gives_its_first_rows(share: float) -> None:
    data = STATE.read_bytes()
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "001.json"
        path.write_bytes(data[: int(share * len(data))])
        try:
            log = one(path)
        except PawlError:
            return
        whole = one(STATE).series["loss/total"].value_N.tolist()
        if "loss/total" in log.series:
            found = log.series["loss/total"].value_N.tolist()
            assert found == whole[: len(found)]
        if len(log.step_N) < 6:
            assert any("breaks off" in note for note in log.notes)


@pytest.mark.parametrize(
    ("version", "spread", "over"),
    [
        ("0.26.2", "reward/within_std", "sequences"),
        ("0.27.0", "reward/std", "sequences"),
        ("1.8.1", "reward/std", "sequences"),
        ("1.9.0", "reward/std", "tokens"),
        ("1.16.0", "reward/std", "tokens"),
    ],
)
def test_meanings_by_version(tmp_path: Path, version: str, spread: str, over: str) -> None:
    log = folder(tmp_path, version, [{"step": 1, **GRPO}, {"step": 2, **GRPO}], "GRPO")
    assert log.version == version
    assert log.series[spread].source == "reward_std"
    assert over in log.series["policy/kl_ref"].aggregation.split("their")[0]
    assert over in log.series["policy/entropy"].aggregation.split("their")[0]


def test_without_a_version_nothing_is_guessed(tmp_path: Path) -> None:
    log = logged(tmp_path, {"step": 1, **GRPO, "completions/mean_length": 5.0})
    assert "not known" in log.series["reward/spread"].note
    assert log.series["policy/kl_ref"].aggregation == "not known"
    assert any("version of TRL is not known" in note for note in log.notes)
    old = logged(tmp_path, {"step": 1, **GRPO, "completion_length": 5.0})
    assert "reward/within_std" in old.series, "completion_length ended before the change"


def test_defaults_need_version_trainer_and_no_contradiction(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"step": 1, **GRPO, "completions/max_length": 256.0}]
    old = folder(tmp_path / "a", "0.18.0", rows, "GRPO")
    assert old.config["algo.kl_coef"] == 0.04
    assert old.config["rollout.max_tokens"] == 256
    assert {"algo.kl_coef", "rollout.temperature", "rollout.max_tokens"} <= set(old.defaults)
    new = folder(tmp_path / "b", "1.16.0", rows, "GRPO")
    assert "algo.kl_coef" not in new.config, "a KL was logged, so beta was set"
    assert "rollout.max_tokens" not in new.config, "512 was not reached, so it is not seen"
    rows[0].pop("kl")
    assert folder(tmp_path / "c", "1.16.0", rows, "GRPO").config["algo.kl_coef"] == 0.0
    assert not folder(tmp_path / "d", "1.16.0", rows, "DPO").defaults
    assert not logged(tmp_path, *rows).defaults


def test_options_that_stand_for_others() -> None:
    own = options({"epsilon": 0.2, "epsilon_high": None, "max_steps": -1, "hub_token": "secret"})
    assert own == {"epsilon": 0.2, "epsilon_high": 0.2}
    assert options({"warmup_steps": 0, "warmup_ratio": 0.1}) == {"warmup_ratio": 0.1}
    assert options({"max_steps": 6, "num_train_epochs": 3.0}) == {"max_steps": 6}


def test_the_card() -> None:
    version, trainer = from_card((LOGS / "trl" / "README.md").read_text())
    assert (version, trainer) == ("1.16.0", "GRPO")
    assert from_card("# A model\n") == ("", "")


def test_groups_that_scale_rewards_hides(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"step": 1, **GRPO, "frac_reward_zero_std": 0.0}]
    log = logged(tmp_path, *rows)
    assert "group/zero_std_frac" in log.series
    kto: dict[str, object] = {
        "step": 1,
        "kl": 2.0,
        "rewards/margins": 0.1,
        "rewards/chosen": 1.0,
        "loss": 0.5,
    }
    assert "policy/kl_ref" not in logged(tmp_path, kto).series


def test_an_output_folder() -> None:
    log = one(LOGS / "trl")
    assert (log.library, log.version) == ("trl", "1.16.0")
    assert log.series["reward/std"].source == "reward_std"
    assert log.config["rollout.group_size"] == 4
    assert log.config["algo.kl_coef"] == 0.04
    assert log.config["algo.clip_high"] == log.config["algo.clip_low"] == 0.2
    assert not log.defaults
    assert [event.step for event in log.events] == [3, 6]
    assert len(log.samples) == 48
    first = log.samples[0]
    assert first["step"] == 1 and first["group"] == 0 and isinstance(first["text"], str)
    assert log.series["group/distinct_frac"].row_N.tolist() == [0, 1, 2, 4], "4 and 6: evaluated"
    state = one(STATE)
    for name, series in state.series.items():
        own = "reward/std" if name == "reward/spread" else name
        assert log.series[own].value_N.tolist() == series.value_N.tolist(), name
    assert diagnose(log).verdict == "CANNOT TELL"


def test_figures_of_the_groups() -> None:
    import pyarrow.parquet

    log = one(LOGS / "trl")
    file = LOGS / "trl" / "completions" / "completions_00002.parquet"
    rows = pyarrow.parquet.read_table(file).to_pylist()
    groups = [rows[:4], rows[4:]]
    assert [len({row["prompt"] for row in group}) for group in groups] == [1, 1]
    stds = [np.std([row["vowels"] for row in group], ddof=1) for group in groups]
    assert log.series["within/vowels"].value_N[1] == pytest.approx(np.mean(stds))
    shares = [len({row["completion"] for row in group}) / 4 for group in groups]
    assert log.series["group/distinct_frac"].value_N[1] == np.mean(shares)


@pytest.mark.parametrize("name", ["trl_0.16.1", "trl_0.26.2"])
def test_what_older_releases_measured(tmp_path: Path, name: str) -> None:
    """reward_std was the mean of the groups' deviations: the batches' own rewards say so."""
    batches = np.array(json.loads((LOGS / name / "rewards.json").read_text())).reshape(6, 2, 4)
    want = batches.std(axis=2, ddof=1).mean(axis=1)
    assert np.abs(batches.reshape(6, 8).std(axis=1, ddof=1) - want).max() > 0.01
    shutil.copytree(LOGS / name, tmp_path / "out")
    (tmp_path / "out" / "README.md").unlink(missing_ok=True)
    for path in (LOGS / name, tmp_path / "out"):
        log = one(path)
        told = name == "trl_0.16.1" or path == LOGS / name  # 0.26 or 0.27 by options alone
        spread = log.series["reward/within_std" if told else "reward/spread"]
        assert spread.value_N == pytest.approx(want, rel=1e-5)
        assert "sequences" in log.series["policy/kl_ref"].aggregation
        assert log.config["algo.kl_coef"] == 0.04
    assert any("before 0.26" in note for note in log.notes) == (name == "trl_0.16.1")


def test_reward_std_of_the_present_release_is_the_batch_s() -> None:
    import pyarrow.parquet

    file = LOGS / "trl" / "completions" / "completions_00002.parquet"
    rewards = pyarrow.parquet.read_table(file).column("vowels").to_numpy()
    assert one(LOGS / "trl").series["reward/std"].value_N[1] == pytest.approx(
        rewards.std(ddof=1), rel=1e-6
    )


def test_steps_after_the_last_checkpoint_come_from_tensorboard(tmp_path: Path) -> None:
    shutil.copytree(LOGS / "trl", tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "checkpoint-6")
    log, whole = one(tmp_path / "out"), one(LOGS / "trl")
    assert log.step_N.tolist() == [1, 2, 3, 4, 5, 6]
    for name in ("reward/mean", "policy/kl_ref", "eval/reward_mean"):
        assert log.series[name].value_N == pytest.approx(whole.series[name].value_N, rel=1e-6)
    assert any("TensorBoard" in note for note in log.notes)


def test_hostile_completions(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    shutil.copytree(LOGS / "trl" / "checkpoint-3", tmp_path / "checkpoint-3")
    (tmp_path / "completions").mkdir()
    chat = [{"role": "assistant", "content": "</script><img onerror=x>\u202e"}]
    table = pyarrow.table({"step": [3] * 2, "prompt": [chat] * 2, "completion": [chat] * 2})
    pyarrow.parquet.write_table(table, tmp_path / "completions" / "completions_00003.parquet")
    (tmp_path / "completions" / "completions_00002.parquet").write_bytes(b"PAR1 nothing")
    log = one(tmp_path)
    assert [row["text"] for row in log.samples] == [chat[0]["content"]] * 2
    assert log.samples[0]["score"] == {"total": None, "components": {}}
    assert any("parquet" in note for note in log.notes)


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('executed')",)


def torch_file(path: Path, data: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("training_args/data.pkl", data)
    return path


def test_a_pickle_is_read_without_running_it(tmp_path: Path) -> None:
    found = attributes(LOGS / "trl" / "checkpoint-3" / "training_args.bin")
    assert found["lr_scheduler_type"] == "linear" and found["beta"] == 0.04
    path = torch_file(tmp_path / "training_args.bin", pickle.dumps(Hostile()))
    assert attributes(path) == {}
    for protocol in range(2, 6):
        data = pickle.dumps({"a": [1, (2, 3)], "b": {4}}, protocol)
        with pytest.raises(ValueError, match="no object"):
            attributes(torch_file(tmp_path / "x.bin", data))


@given(
    st.binary(max_size=200) | st.builds(lambda b: pickle.dumps(Hostile())[: len(b)], st.binary())
)
@settings(max_examples=60, deadline=None)
def test_any_pickle_is_read_or_refused(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        for path in (torch_file(Path(name) / "a", data), Path(name) / "b"):
            if path.name == "b":
                path.write_bytes(data)
            try:
                attributes(path)
            except ValueError:
                pass


def test_the_console_agrees_with_the_state() -> None:
    log, state = one(LOGS / "trl_stdout.log"), one(STATE)
    assert log.step_N.tolist() == [1, 2, 3, 4, 5, 6]
    for name, series in state.series.items():
        if name != "time/step_s":
            assert log.series[name].value_N == pytest.approx(series.value_N, rel=2e-3), name
    assert log.config["train.steps"] == 6


def test_old_and_new_prints_among_noise(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text(
        "Loading: 100%|##| 3/3 [00:01<00:00, 2it/s]\r\n"
        "  1%|  | 10/100 [00:05<00:50] {'loss': -1.4e-05, 'reward': 0.5, 'kl': nan, 'epoch': 0.1}\n"
        "WARNING: something {'a': 1}\n"
        "  2%|  | 20/100 [00:09<00:50]\r"
        "{'loss': '0.25', 'reward': '1', 'kl': None, 'epoch': '0.2'}\n"
        "{'train_runtime': 3.1, 'train_loss': 0.1, 'epoch': 0.2}\n"
        "{'loss': 0.5, 'grad_norm': np.float64(2.0), 'learning_rate': 1e-06, 'epoch': 0.1}\n"
    )
    first, second = read_logs(path)
    assert first.step_N.tolist() == [10, 20]
    assert first.series["loss/total"].value_N.tolist() == [-1.4e-05, 0.25]
    assert np.isnan(first.series["policy/kl_ref"].value_N).all()
    assert second.series["optim/grad_norm"].value_N.tolist() == [2.0]
    assert any("not printed" in note for note in second.notes)


def test_a_notebook(tmp_path: Path) -> None:
    shown = (
        '<table border="1" class="dataframe"><thead><tr style="text-align: left;"><th>Step</th>'
        "<th>Training Loss</th><th>reward</th><th>rewards / f / mean</th></tr></thead><tbody>"
        "<tr><td>1</td><td>0.000000</td><td>0.5</td><td>No Log</td></tr>"
        "<tr><td>2</td><td>0.100000</td><td>0.6</td><td>&lt;b&gt;</td></tr></tbody></table>"
    )
    printed = ["{'loss': 0.5, 'epoch': 0.1}\n", "{'loss': 0.4, 'epoch': 0.2}\n"]
    cells = [
        {"cell_type": "markdown", "source": ["| a | b |\n"]},
        {"cell_type": "code", "outputs": [{"data": {"text/html": [shown]}}, {"text": printed}]},
    ]
    path = tmp_path / "a.ipynb"
    path.write_text(json.dumps({"cells": cells, "nbformat": 4}))
    first, second = read_logs(path)
    assert first.series["loss/total"].value_N.tolist() == [0.5, 0.4]
    assert second.step_N.tolist() == [1, 2]
    assert second.series["reward/mean"].value_N.tolist() == [0.5, 0.6]


def test_json_lines_of_llama_factory_and_swift(tmp_path: Path) -> None:
    path = tmp_path / "001.jsonl"
    rows: list[dict[str, object]] = [
        {"current_steps": 20, "total_steps": 90, "loss": 1.4, "accuracy": 0.47, "lr": 4e-6},
        {"current_steps": 40, "total_steps": 90, "loss": 1.2, "accuracy": 0.5, "lr": 3e-6},
    ]
    rows[0]["elapsed_time"] = "0:00:27"
    path.write_text("\n".join(map(json.dumps, rows)))
    log = one(path)
    assert log.format == "trainer_log.jsonl of LLaMA-Factory"
    assert log.step_N.tolist() == [20, 40]
    assert log.series["preference/accuracy"].value_N.tolist() == [0.47, 0.5]
    assert log.config["train.steps"] == 90
    swift = [{"loss": 0.0, "reward": 0.1 * i, "global_step/max_steps": f"{i}/93"} for i in (5, 10)]
    path.write_text("\n".join(map(json.dumps, swift)))
    log = one(path)
    assert log.step_N.tolist() == [5, 10]
    assert log.config["train.steps"] == 93
