"""Logs of OpenRLHF, prime-rl, NeMo-RL, open-instruct, slime, SkyRL, ROLL, AReaL and others.

The texts are built from the forms that the libraries' sources state, with values made up; no such
package ran for them. Left out: verl (test_logs_verl.py), TRL, W&B and TensorBoard.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from framework_logs import log_of, nemo_block, openrlhf_line, prime_rows, values


def test_openrlhf_console(tmp_path: Path) -> None:
    lines = [
        "Loading extension module cpu_adam...",
        openrlhf_line(1),
        openrlhf_line(2, actor_grad_norm="nan", rollout__reward_mean="np.float64(0.5)"),
        "INFO 09-14 ppo_trainer.py:600] \u2728 Evaluation completed in 0:01:02, global_step 2, "
        "eval_metrics: {'eval_math_pass1': 0.625, 'eval_math_pass4': 0.75}",
        openrlhf_line(3, kl="inf"),
    ]
    log = log_of(tmp_path, "\n".join(lines) + "\n")
    assert log.format == "console log of OpenRLHF"
    assert log.library == "openrlhf"
    assert list(log.step_N) == [1, 2, 3]
    assert values(log, "reward/mean") == [0.41, 0.5, 0.41]
    assert values(log, "reward/trained_mean") == [0.4] * 3
    assert values(log, "reward/within_std") == [0.2] * 3
    assert values(log, "policy/entropy") == [0.61] * 3
    assert values(log, "policy/mismatch_kl") == [0.001] * 3
    assert values(log, "eval/pass_at_1") == [0.625]
    assert np.isnan(log.series["optim/grad_norm"].value_N[1])
    assert np.isinf(log.series["policy/kl_ref"].value_N[2])


def test_molt_has_no_sparkle(tmp_path: Path) -> None:
    log = log_of(
        tmp_path, openrlhf_line(1, sparkle="") + "\n" + openrlhf_line(2, sparkle="") + "\n"
    )
    assert log.format == "console log of OpenRLHF or Molt"
    assert list(log.step_N) == [1, 2]


def test_openrlhf_record_that_breaks_off(tmp_path: Path) -> None:
    whole = openrlhf_line(1) + "\n"
    cut = openrlhf_line(2)
    cut = cut[: cut.index("'actor_grad_norm': 0.42") + len("'actor_grad_norm': 0.4")]
    log = log_of(tmp_path, whole + cut)
    assert values(log, "optim/grad_norm") == [0.42]
    assert values(log, "policy/kl_ref") == [0.0031, 0.0031]
    assert any("breaks off" in note for note in log.notes)


def test_prime_console(tmp_path: Path) -> None:
    lines = ["12:00:00    INFO Starting training loop"]
    for i in range(3):
        lines += [
            f"12:01:40 SUCCESS Step {i} |   38.90s | Reward 0.{6 + i}120 | "
            "Trainable 96/128 (75.0%) | Turns 1.0 | Branches 1.0 | Max Off-Policy 2 | "
            "Error 0.8% | Cancelled 0.0% | Truncation 3.1%",
            f"12:01:44 SUCCESS Step {i} |   41.20s | Loss 0.003{i} | Entropy 0.4127 | "
            "Mismatch KL 0.0009 | Grad. Norm 0.0812 | LR 3.00e-06 | Throughput 21033 tokens/s | "
            "MFU 31.2% | Peak Mem. 61.3 GiB",
        ]
    log = log_of(tmp_path, "\n".join(lines) + "\n")
    assert log.format == "console log of prime-rl"
    assert list(log.step_N) == [0, 1, 2]
    assert values(log, "reward/mean") == [0.612, 0.712, 0.812]
    assert values(log, "length/truncated_frac") == [0.031] * 3
    assert values(log, "verifier/exception_frac") == [0.008] * 3
    assert values(log, "loss/total") == [0.003, 0.0031, 0.0032]
    assert values(log, "policy/mismatch_kl") == [0.0009] * 3
    assert values(log, "optim/lr") == [3e-06] * 3
    assert values(log, "time/step_s") == [41.2] * 3
    assert list(log.unknown["Trainable"].value_N) == [75.0] * 3


def test_a_damaged_number_of_seconds_is_left_out(tmp_path: Path) -> None:
    lines = [f"Step {i} | {s}s | Loss 0.5 | Entropy 0.4" for i, s in enumerate(("1.2.0", "1.25"))]
    log = log_of(tmp_path, "\n".join(lines) + "\n")
    assert log.format == "console log of prime-rl"
    assert (len(log.step_N), len(log.series["loss/total"].value_N)) == (2, 2)


def test_prime_metrics_file_merges_the_records_of_a_step(tmp_path: Path) -> None:
    rows = [row for i in range(4) for row in prime_rows(i)]
    del rows[5]["optim/grad_norm"]  # not finite: dropped by prime-rl
    text = "\n".join(map(json.dumps, rows)) + '\n{"step": 4, "opt'
    log = log_of(tmp_path, text, "metrics.jsonl")
    assert log.format == "metrics.jsonl of prime-rl"
    assert list(log.step_N) == [0, 1, 2, 3]
    assert values(log, "reward/mean") == [0.4] * 4, "all rollouts before those trained on"
    assert values(log, "group/zero_std_frac") == [0.375] * 4
    assert log.series["group/zero_std_frac"].source == "solved_none + solved_all"
    assert values(log, "group/all_wrong_frac") == [0.25] * 4
    assert values(log, "mix_reward/math") == [0.3] * 4
    assert values(log, "component/format") == [0.9] * 4
    assert values(log, "policy/staleness") == [1.5] * 4
    assert len(log.series["optim/grad_norm"].value_N) == 3
    assert any("optim/grad_norm is missing in 1 steps" in note for note in log.notes)


def test_counts_are_not_added_up_as_shares(tmp_path: Path) -> None:
    counts = {"train/agg/all/solved_none": 4, "train/agg/all/solved_all": 2}
    rows = [row for i in range(4) for row in prime_rows(i, **counts)]
    log = log_of(tmp_path, "\n".join(map(json.dumps, rows)) + "\n", "metrics.jsonl")
    assert "group/zero_std_frac" not in log.series


@pytest.mark.parametrize("heading", [True, False])
def test_nemo_console(tmp_path: Path, heading: bool) -> None:
    text = "".join(nemo_block(i, 0.1 * i, heading) for i in (1, 2, 3))
    text += "\U0001f4ca Validation Results:\n    \u2022 Accuracy: 0.5120\n"
    text += nemo_block(4, 0.4, heading)
    log = log_of(tmp_path, text)
    assert log.format == "console log of NeMo-RL"
    assert list(log.step_N) == [1, 2, 3, 4]
    assert values(log, "reward/mean") == [0.1, 0.2, 0.3, 0.4]
    assert values(log, "eval/pass_at_1") == [0.512]
    assert log.step_N[log.series["eval/pass_at_1"].row_N[0]] == 3
    assert values(log, "policy/mismatch_kl") == [0.0008] * 4
    assert values(log, "length/mean") == [812.4] * 4
    assert values(log, "time/step_s") == [93.41] * 4
    assert any("counted" in note for note in log.notes) is not heading


def test_nemo_columns_of_an_export(tmp_path: Path) -> None:
    names = ["step", "train/reward", "train/baseline_reward/pct_0", "train/baseline_reward/pct_1"]
    names += [
        "train/baseline_reward/pct_mixed",
        "train/token_mult_prob_error",
        "train/gen_kl_error",
    ]
    names += ["train/approx_entropy"]
    rows = [f"{i},0.4,40,10,50,1.01,0.0005,0.7" for i in range(5)]
    log = log_of(tmp_path, "\n".join([",".join(names), *rows]) + "\n", "export.csv")
    assert log.library == "nemo"
    assert values(log, "group/zero_std_frac") == [0.5] * 5
    assert values(log, "group/all_wrong_frac") == [0.4] * 5
    assert values(log, "group/mixed_frac") == [0.5] * 5
    assert values(log, "policy/mismatch_factor") == [1.01] * 5
    assert "not the entropy from logits" in log.series["policy/entropy"].note


SIDE, DASH = "\u2502", "\u2500"


def panel(rows: list[str]) -> str:
    body = "".join(f"{SIDE} {row:70} {SIDE}\n" for row in rows)
    return f"\u256d{DASH * 32} Metrics {DASH * 31}\u256e\n{body}\u2570{DASH * 72}\u256f\n"


@pytest.mark.parametrize("bar", [f" {SIDE} ", "  "])
def test_open_instruct_panel(tmp_path: Path, bar: str) -> None:
    panels = []
    for i in (1, 2, 3):
        rows = [
            f"{'loss':9}{bar}policy_avg: 0.0{i} | total_avg: 0.0{i + 1}",
            f"{'other':9}{bar}scores: {5 + i}.25 | training_step: {i * 10} |",
            f"{'':9}{' ' * len(bar)}lr: 1.00e-06",
            f"{'val':9}{bar}ratio: 1.00 | stop_rate: 0.75",
        ]
        panels.append(panel(rows))
    log = log_of(tmp_path, "some words before\n" + "noise between\n".join(panels))
    assert log.format == 'panel "Metrics" of open-instruct'
    assert list(log.step_N) == [10, 20, 30]
    assert values(log, "reward/mean") == [6.25, 7.25, 8.25]
    assert values(log, "optim/lr") == [1e-06] * 3
    assert values(log, "loss/total") == [0.02, 0.03, 0.04], "the whole loss before the surrogate"
    assert values(log, "length/truncated_frac") == [0.25] * 3
    assert any("two decimals" in note for note in log.notes)


@pytest.mark.parametrize("broken", [2, 5])
def test_open_instruct_counts_the_panels_that_end(tmp_path: Path, broken: int) -> None:
    filler = [f"{'val':9} {SIDE} x{k}: 1.00" for k in range(500)]
    panels = [panel([f"{'other':9} {SIDE} scores: {i}.25", *filler]) for i in range(6)]
    panels[broken] = panels[broken].rsplit("\u2570", 1)[0]  # without its closing line
    log = log_of(tmp_path, "".join(panels))
    assert list(log.step_N) == [1, 2, 3, 4, 5]
    assert values(log, "reward/mean") == [i + 0.25 for i in range(6) if i != broken]
    assert sum("the last panel breaks off" in note for note in log.notes) == (broken == 5)


def test_open_instruct_columns_of_an_export(tmp_path: Path) -> None:
    row = {
        "training_step": 0,
        "scores": 4.0,
        "real_batch_size_ratio": 0.75,
        "val/stop_rate": 0.9,
        "objective/kl0_avg": -0.001,
        "objective/kl2_avg": 0.002,
        "objective/verifiable_correct_rate": 0.5,
        "policy/entropy_avg": 0.4,
        "loss/policy_avg": 0.01,
        "debug/vllm_vs_local_logprob_diff_mean": 0.01,
    }
    text = "\n".join(json.dumps({**row, "training_step": i}) for i in range(5)) + "\n"
    log = log_of(tmp_path, text, "history.jsonl")
    assert log.library == "open_instruct"
    assert values(log, "group/zero_std_frac") == [0.25] * 5
    assert values(log, "length/truncated_frac") == [0.1] * 5
    assert values(log, "policy/kl_ref") == [0.002] * 5
    assert values(log, "policy/sampler_diff_mean") == [0.01] * 5


def test_slime_console_with_several_updates_a_rollout(tmp_path: Path) -> None:
    lines = []
    for i in range(3):
        stamp = "[2026-04-15 07:57:53]"
        lines.append(
            f"{stamp} rollout.py:1193 - perf {i}: {{'rollout/response_len/mean': 2773.75, "
            "'rollout/zero_std/count_0': 12, 'rollout/truncated_ratio': 0.46}"
        )
        lines.append(
            f"{stamp} data.py:93 - rollout {i}: {{'rollout/raw_reward': 0.{i + 1}, "
            "'rollout/rewards': 0.0, 'rollout/log_probs': -0.22}"
        )
        lines += [
            f"{stamp} model.py:12 - step {2 * i + k}: {{'train/loss': 0.0{k + 1}, "
            f"'train/grad_norm': {'nan' if i == 1 and k == 0 else 0.3}, 'train/lr-pg_0': 1e-06}}"
            for k in range(2)
        ]
    log = log_of(tmp_path, "\n".join(lines) + "\n")
    assert log.format == "console log of slime or miles"
    assert list(log.step_N) == [0, 1, 2, 3, 4, 5]
    assert values(log, "reward/mean") == [0.1, 0.2, 0.3]
    assert list(log.step_N[log.series["reward/mean"].row_N]) == [0, 2, 4]
    assert values(log, "loss/total") == [0.01, 0.02] * 3
    assert int(np.isnan(log.series["optim/grad_norm"].value_N).sum()) == 1


def skyrl_text() -> str:
    return "".join(
        f"2026-08-21 10:00:00 | INFO | trainer - Step {i}: \n"
        "{'policy/policy_entropy': '0.4000',\n"
        " 'policy/policy_loss': '-0.0123',\n"
        f" 'reward/avg_raw_reward': '0.{i}000',\n"
        " 'trainer/global_step': 1}\n"
        "other words\n"
        for i in (1, 2, 3)
    )


def test_skyrl_console(tmp_path: Path) -> None:
    log = log_of(tmp_path, skyrl_text())
    assert log.format == "console log of SkyRL"
    assert list(log.step_N) == [1, 2, 3]
    assert values(log, "reward/mean") == [0.1, 0.2, 0.3]
    assert values(log, "policy/entropy") == [0.4] * 3


def test_a_dict_of_skyrl_that_the_next_step_breaks_off_is_left_out(tmp_path: Path) -> None:
    before, after = skyrl_text().split(" 'reward/avg_raw_reward': '0.2000',\n", 1)
    log = log_of(tmp_path, before + after.split("other words\n", 1)[1])
    assert list(log.step_N) == [1, 3]
    assert values(log, "policy/entropy") == [0.4] * 2


def test_roll_console(tmp_path: Path) -> None:
    row = {"critic/score/mean": 0.5, "actor/pg_loss": 0.01, "actor/ppo_ratio_high_clipfrac": 0.02}
    text = "".join(f"[INFO] pipeline: {json.dumps(row)}\nnoise {{}}\n" for _ in range(3))
    log = log_of(tmp_path, text)
    assert log.format == "console log of ROLL"
    assert list(log.step_N) == [0, 1, 2]
    assert values(log, "reward/mean") == [0.5] * 3
    assert values(log, "policy/clip_high_frac") == [0.02] * 3


def areal_text() -> str:
    return "".join(
        f"20260521-10:00:00 Epoch 1/10 Step {i}/100 Train step {i}/1000 done.\n"
        f"\u2552{'=' * 70}\u2555\n"
        f"{SIDE} ppo_actor/task_reward/avg {SIDE} {i}.5000e-01 {SIDE} "
        f"ppo_actor/update/grad_norm {SIDE} 3.0000e-01 {SIDE}\n"
        f"{SIDE} ppo_actor/update/entropy/avg {SIDE} 4.0000e-01 {SIDE} {SIDE} {SIDE}\n"
        for i in (1, 2, 3)
    )


def test_areal_console(tmp_path: Path) -> None:
    log = log_of(tmp_path, areal_text())
    assert log.format == "console log of AReaL"
    assert list(log.step_N) == [1, 2, 3]
    assert values(log, "reward/mean") == [0.15, 0.25, 0.35]
    assert values(log, "optim/grad_norm") == [0.3] * 3
    assert values(log, "policy/entropy") == [0.4] * 3


@pytest.mark.parametrize("form", ["nemo", "areal"])
def test_a_name_twice_in_one_block_is_no_repeated_step(tmp_path: Path, form: str) -> None:
    text = nemo_block(1, 0.1) + nemo_block(2, 0.2) if form == "nemo" else areal_text()
    line = next(x for x in text.splitlines(True) if "Avg Reward" in x or "task_reward" in x)
    log = log_of(tmp_path, text.replace(line, line * 2))
    assert len(values(log, "reward/mean")) == len(log.step_N)
    assert not any("repeated" in note for note in log.notes)
    again = log_of(tmp_path, text + text, "resumed.log")
    assert any("repeated" in note for note in again.notes)


def test_tinker_and_art_are_known_by_their_columns(tmp_path: Path) -> None:
    row = {
        "step": 0,
        "env/all/reward/total": 0.6,
        "env/all/by_group/frac_mixed": 0.4,
        "env/all/by_group/frac_all_good": 0.5,
        "env/all/by_group/frac_all_bad": 0.1,
        "optim/kl_sample_train_v1": -0.0007,
        "optim/kl_sample_train_v2": 0.0011,
        "optim/entropy": 0.42,
    }
    text = "\n".join(json.dumps({**row, "step": i}) for i in range(4)) + "\n"
    log = log_of(tmp_path, text, "metrics.jsonl")
    assert log.library == "tinker"
    assert values(log, "group/zero_std_frac") == pytest.approx([0.6] * 4)
    assert values(log, "policy/mismatch_kl") == [0.0011] * 4
    art = {"step": 1, "train/reward": 0.5, "train/reward_std_dev": 0.2, "loss/train": 0.1}
    text = "\n".join(json.dumps({**art, "step": i}) for i in range(4)) + "\n"
    assert log_of(tmp_path, text, "history.jsonl").library == "art"
