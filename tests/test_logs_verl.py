"""verl's console log, its file logger and its rollout dumps, on texts built from its source.

Left out: the other libraries (test_logs_frameworks.py).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from framework_logs import CYAN, RESET, VERL, log_of, ray, values, verl_line, write

from pawl.doctor.diagnose import diagnose
from pawl.logs import read_verl
from pawl.logs.log import canonical
from pawl.logs.recognise import read_logs
from pawl.rules import prescribe
from pawl.rules.signals import Signals


def test_verl_console_behind_ray_and_noise(tmp_path: Path) -> None:
    lines = [
        "2026-09-14 10:00:00,123 INFO worker.py:1843 -- Started a local Ray instance.",
        ray(
            "step:0 - val-aux/openai/gsm8k/reward/mean@1:0.565 - "
            "val-core/openai/gsm8k/acc/mean@1:0.5"
        ),
        f"{CYAN}(WorkerDict pid=77){RESET} Loading shards: 50% [repeated 3x across cluster]",
        ray(verl_line(1)),
        ray("Training Progress:   1%|1         | 1/100 [01:00<99:00, 60.1s/it]"),
        ray(verl_line(2, critic__score__mean="np.float64(0.75)", actor__grad_norm="nan")),
        ray("WARN: rank 0 grad_norm is not finite: nan"),
        ray(verl_line(3, actor__grad_norm="inf", critic__score__mean="1e-06")),
    ]
    log = log_of(tmp_path, "\n".join(lines) + "\n")
    assert log.format == "console log of verl"
    assert log.library == "verl"
    assert list(log.step_N) == [0, 1, 2, 3]
    assert values(log, "reward/mean") == [0.558, 0.75, 1e-06]
    assert values(log, "reward/trained_mean") == [0.541] * 3
    assert values(log, "eval/pass_at_1") == [0.5]
    assert values(log, "eval/reward_mean") == [0.565]
    assert values(log, "optim/lr") == [1e-06] * 3
    assert values(log, "length/truncated_frac") == [0.0625] * 3
    assert values(log, "memory/resident_mb") == [2048.0] * 3
    grads = log.series["optim/grad_norm"].value_N
    assert grads[0] == 0.125
    assert np.isnan(grads[1])
    assert np.isinf(grads[2])
    assert values(log, "policy/mismatch_kl") == [0.0005] * 3, "k3 stands before k1"
    assert "k3" in log.series["policy/mismatch_kl"].note
    assert "rollout_corr/kl" in log.unknown
    reward = log.series["reward/mean"]
    assert (reward.source, reward.unit) == ("critic/score/mean", "reward")
    assert reward.aggregation == "mean over samples"
    assert log.series["policy/entropy"].aggregation.startswith("mean over the step")
    assert [(e.step, e.kind) for e in log.events] == [(2, "error")]


def test_verl_without_score_takes_the_rewards_and_says_so(tmp_path: Path) -> None:
    text = "\n".join(f"step:{i} - actor/pg_loss:0.1 - critic/rewards/mean:0.{i}" for i in (1, 2, 3))
    log = log_of(tmp_path, text + "\n")
    assert values(log, "reward/mean") == [0.1, 0.2, 0.3]
    assert "after the KL penalty" in log.series["reward/mean"].note


@pytest.mark.parametrize("width", [61, 80, 119, 200])
@pytest.mark.parametrize("trimmed", [False, True])
def test_verl_lines_that_a_terminal_wrapped(tmp_path: Path, width: int, trimmed: bool) -> None:
    lines = []
    for step in range(1, 6):
        line = verl_line(step, critic__score__mean=0.1 * step)
        pieces = [line[i : i + width] for i in range(0, len(line), width)]
        lines += [piece.rstrip() if trimmed else piece for piece in pieces]
        lines.append("Training Progress:  10%|#         | 1/10 [00:10<01:30, 10.0s/it]")
    log = log_of(tmp_path, "\n".join(lines) + "\n")
    assert list(log.step_N) == [1, 2, 3, 4, 5]
    assert values(log, "reward/mean") == [0.1, 0.2, 0.3, 0.4, 0.5]
    for name in ("actor/lr", "timing_s/step", "response_length/mean"):
        own = [s for s in (*log.series.values(), *log.unknown.values()) if s.source == name]
        assert [len(s.value_N) for s in own] == [5], name


def test_verl_noise_after_a_step_is_not_taken_for_its_rest(tmp_path: Path) -> None:
    short = "step:{} - actor/pg_loss:0.25 - critic/score/mean:0.5"
    noise = ["done", "saved checkpoint to /tmp/x", "epoch: 3", "- item", "", "0.7", "a:b - c"]
    text = "\n".join(f"{short.format(i)}\n{line}" for i, line in enumerate(noise, 1))
    log = log_of(tmp_path, text + "\n")
    assert values(log, "loss/total") == [0.25] * len(noise)
    assert values(log, "reward/mean")[:2] == [0.5, 0.5]
    assert len(log.series["reward/mean"].value_N) == len(noise)


def test_verl_config_printed_at_the_start(tmp_path: Path) -> None:
    config = """{'actor_rollout_ref': {'actor': {'clip_ratio': 0.2,
                                 'clip_ratio_high': 0.28,
                                 'clip_ratio_low': None,
                                 'grad_clip': 1.0,
                                 'kl_loss_coef': 0.001,
                                 'optim': {'lr': 1e-06,
                                           'lr_warmup_steps': -1,
                                           'lr_warmup_steps_ratio': 0.1},
                                 'use_kl_loss': True},
                       'rollout': {'n': 8, 'temperature': 1.0}},
 'algorithm': {'kl_ctrl': {'kl_coef': 0.02}, 'use_kl_in_reward': False},
 'data': {'max_response_length': 1024, 'train_files': ['a {b}', 'c']}}"""
    lines = [ray(line) for line in config.splitlines()]
    lines.insert(3, f"{CYAN}(WorkerDict pid=9){RESET} {{'unrelated': 1}}")
    lines += [ray(verl_line(i)) for i in (1, 2)]
    log = log_of(tmp_path, "\n".join(lines) + "\n")
    assert log.config["optim.lr"] == 1e-06
    assert log.config["optim.warmup"] == 0.1, "a number of steps below 0 stands for none"
    assert log.config["algo.clip_low"] == 0.2
    assert log.config["algo.clip_high"] == 0.28
    assert log.config["algo.kl_coef"] == 0.001
    assert log.config_names["algo.kl_coef"] == "actor_rollout_ref.actor.kl_loss_coef"
    assert log.config["rollout.group_size"] == 8
    assert log.config["rollout.max_tokens"] == 1024
    assert list(log.step_N) == [1, 2]


def test_verl_kl_that_is_switched_off_counts_as_none(tmp_path: Path) -> None:
    config = (
        "{'actor_rollout_ref': {'actor': {'kl_loss_coef': 0.5, 'use_kl_loss': False}, "
        "'rollout': {'n': 4}}, 'algorithm': {'kl_ctrl': {'kl_coef': 0.1}, "
        "'use_kl_in_reward': False}}"
    )
    log = log_of(tmp_path, f"{config}\n{verl_line(1)}\n")
    assert log.config["algo.kl_coef"] == 0.0


def test_three_decimals_are_not_zero(tmp_path: Path) -> None:
    """Old releases print every number with three decimals: a learning rate reads 0.000."""
    rows = [
        f"step:{i} - actor/kl_loss:0.000 - actor/pg_loss:-0.000 - actor/lr:0.000 - "
        f"actor/ppo_kl:0.000 - actor/entropy:0.{300 - i} - critic/score/mean:0.{400 + i} - "
        f"response_length/mean:{500 + i}.000 - response_length/clip_ratio:0.000"
        for i in range(1, 60)
    ]
    log = log_of(tmp_path, "\n".join(rows) + "\n")
    for name in ("loss/total", "policy/kl_ref", "policy/kl_old", "optim/lr"):
        assert name not in log.series
    assert any("too few decimals" in note for note in log.notes)
    assert values(log, "length/truncated_frac") == [0.0] * 59
    assert diagnose(log).verdict not in ("INVALID RUN", "FAULT")


def test_zeros_printed_in_full_stay_zeros(tmp_path: Path) -> None:
    rows = [verl_line(i, actor__kl_loss=0.0, actor__pg_loss="0.0") for i in range(1, 20)]
    log = log_of(tmp_path, "\n".join(rows) + "\n")
    assert values(log, "policy/kl_ref") == [0.0] * 19
    assert values(log, "loss/total") == [0.0] * 19


def test_verl_file_that_breaks_off_in_a_number(tmp_path: Path) -> None:
    text = f"{verl_line(1)}\nstep:2 - actor/entropy:0.5 - critic/score/mean:0.1234"
    log = log_of(tmp_path, text)
    assert values(log, "reward/mean") == [0.558]
    assert values(log, "policy/entropy") == [0.323, 0.5]
    assert any("breaks off" in note for note in log.notes)


def test_verl_steps_that_repeat_after_a_restart(tmp_path: Path) -> None:
    rows = [verl_line(i, critic__score__mean=0.1 * i) for i in (1, 2, 3)]
    rows += [verl_line(i, critic__score__mean=0.5) for i in (2, 3, 4)]
    log = log_of(tmp_path, "\n".join(rows) + "\n")
    assert list(log.step_N) == [1, 2, 3, 4]
    assert values(log, "reward/mean") == [0.1, 0.5, 0.5, 0.5]
    assert any("steps go back" in note for note in log.notes)


def test_verl_file_logger(tmp_path: Path) -> None:
    rows = [json.dumps({"step": i, "data": {**VERL, "critic/score/mean": 0.1 * i}}) for i in (1, 2)]
    rows.insert(0, json.dumps({"step": 0, "data": {"val-core/a/acc/mean@8": 0.25}}))
    rows.append('{"step": 3, "data": {"actor/entropy": NaN, "critic/score/mean": Infinity}}')
    rows.append('{"step": 4, "data": {"actor/entr')
    log = log_of(tmp_path, "\n".join(rows), "experiment.jsonl")
    assert log.format == "JSON lines of verl's file logger"
    assert list(log.step_N) == [0, 1, 2, 3]
    assert values(log, "reward/mean")[:2] == [0.1, 0.2]
    assert np.isnan(log.series["policy/entropy"].value_N[2])
    assert values(log, "eval/pass_at_1") == [0.25]
    assert log.notes == ["the last line breaks off and was left out"]


def test_verl_rollout_dump(tmp_path: Path) -> None:
    folder = tmp_path / "rollouts"
    folder.mkdir()
    scores = {
        1: [[0, 0, 0, 0], [0, 1, 0, 1]],
        2: [[1, 1, 1, 1], [1, 1, 1, 1]],
        10: [[1, 0], [1, 1]],
    }
    for step, groups in scores.items():
        rows = [
            {
                "input": f"p{g}",
                "output": "</script>",
                "gts": "x",
                "score": s,
                "step": step,
                "fmt": 1,
            }
            for g, group in enumerate(groups)
            for s in group
        ]
        write(folder, "\n".join(map(json.dumps, rows)) + "\n", f"{step}.jsonl")
    assert read_verl.read_folder(tmp_path) is None
    raws = read_verl.read_folder(folder)
    assert raws
    log = canonical(raws[0])
    assert list(log.step_N) == [1, 2, 10]
    assert values(log, "reward/mean") == [0.25, 1.0, 0.75]
    assert values(log, "group/zero_std_frac") == [0.5, 1.0, 0.5]
    within = log.series["reward/within_std"].value_N
    assert within == pytest.approx(
        [np.std([0, 1, 0, 1], ddof=1) / 2, 0, np.std([1, 0], ddof=1) / 2]
    )
    assert values(log, "reward/best_of_n") == [0.5, 1.0, 1.0]
    assert values(log, "component/fmt") == [1.0, 1.0, 1.0]
    assert log.samples[-1]["completion"] == "</script>"
    assert read_logs(folder / "1.jsonl")[0].format == "rollout dump of verl"


def test_a_change_is_advised_in_verls_words(tmp_path: Path) -> None:
    config = "{'actor_rollout_ref': {'actor': {'optim': {'lr': 0.001}}, 'rollout': {'n': 8}}}"
    words = dict.fromkeys(("why", "expected", "risk", "verify"), "-")
    fixes = []
    for text in (f"{config}\n{verl_line(1)}\n", f"{verl_line(1)}\n"):
        signals = Signals(log_of(tmp_path, text))
        fixes.append(prescribe.scaled(signals, "optim.lr", 0.1, **words))
    told, unknown = fixes
    assert told
    assert unknown
    assert told.name == unknown.name == "actor_rollout_ref.actor.optim.lr"
    assert (told.before, told.after) == ("0.001", "0.0001")
    assert (unknown.before, unknown.after) == ("", "/ 10")
