"""Exporting runs: one checkpoint, or the average of several, as a plain folder.

Merging one adapter is tested in test_models_policy.py, 4-bit bases in test_models_quantised.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from test_cli_commands import run as cli
from test_models_policy import folder, shake
from transformers import AutoModelForCausalLM

from pawl.config.options import OptimConfig, RunConfig
from pawl.errors import PawlError
from pawl.models import checkpoint
from pawl.models.export import export, merged, run_policy
from pawl.models.learner import make_learner
from pawl.models.policy import Policy, load_policy
from pawl.store.run import RunFolder

Weights = dict[str, torch.Tensor]


def made(tmp_path: Path, lora: int, dtype: str = "fp32") -> tuple[Path, list[Policy]]:
    """A run with checkpoints 10, 20 and 40 of different weights, and the three policies."""
    model: dict[str, Any] = {"path": str(folder(tmp_path / "m")), "device": "cpu", "dtype": dtype}
    body = {"name": "r", "runs_dir": str(tmp_path), "model": model | {"lora": {"r": lora}}}
    cfg = RunConfig.model_validate(body)
    policies = [load_policy(cfg.model, cfg.seed) for _ in range(3)]
    with RunFolder.create(cfg) as run:
        for seed, (step, policy) in enumerate(zip((10, 20, 40), policies, strict=True)):
            shake(policy, seed)
            save(run.path, step, policy)
    return run.path, policies


def save(run: Path, step: int, policy: Policy) -> None:
    learner = make_learner("policy", policy, OptimConfig(), policy.dtype)
    checkpoint.save(run / "checkpoints", step, [learner], {"best_step": 20})


def weights(path: Path) -> Weights:
    model = AutoModelForCausalLM.from_pretrained(path)
    state: Weights = model.state_dict()
    return state


def mean(parts: list[Weights]) -> Weights:
    return {n: torch.stack([p[n].double() for p in parts]).mean(0) for n in parts[0]}


@pytest.mark.parametrize("lora", [0, 4])
def test_an_average_is_that_of_the_plain_weights(tmp_path: Path, lora: int) -> None:
    path, policies = made(tmp_path, lora)
    out = weights(export(f"{path}@10,20,40", tmp_path / "out"))
    wanted = mean([merged(p).state_dict() for p in policies])
    assert out.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(out[name].double(), value, atol=1e-6, rtol=0, msg=name)
    one = weights(export(f"{path}@10", tmp_path / "one"))
    assert any((one[n] - out[n]).abs().max() > 1e-2 for n in out)


def test_averaged_factors_are_another_model(tmp_path: Path) -> None:
    """mean(B A) is not mean(B) mean(A): what averaging the adapter files would give."""
    path, policies = made(tmp_path, 4)
    out = weights(export(f"{path}@10,20,40", tmp_path / "out"))
    factors = mean([dict(p.model.named_parameters()) for p in policies])
    first = policies[0]
    with torch.no_grad():
        for name, weight in first.model.named_parameters():
            weight.copy_(factors[name])
    wrong = merged(first).state_dict()
    assert any((wrong[n] - out[n]).abs().max() > 1e-2 for n in out if "q_proj.weight" in n)


def test_equal_checkpoints_average_to_themselves(tmp_path: Path) -> None:
    path, policies = made(tmp_path, 4, dtype="bf16")
    for step in (20, 40):
        save(path, step, policies[0])
    one = export(f"{path}@10", tmp_path / "one")
    all_three = export(f"{path}@10,20,40", tmp_path / "three")
    name = "model.safetensors"
    assert (one / name).read_bytes() == (all_three / name).read_bytes()
    assert json.loads((all_three / "config.json").read_text())["dtype"] == "bfloat16"


def test_unknown_and_repeated_steps_are_refused(tmp_path: Path) -> None:
    path, _ = made(tmp_path, 0)
    with pytest.raises(PawlError, match="no checkpoint of step 30") as caught:
        export(f"{path}@10,30", tmp_path / "out")
    assert caught.value.hint == "steps with a checkpoint: 10, 20, 40"
    with pytest.raises(PawlError, match="stands twice"):
        export(f"{path}@10,10", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    best = run_policy(str(path))
    named = run_policy(f"{path}@20")
    assert best is not None and named is not None
    pairs = zip(best.model.parameters(), named.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("best", [{}, {"best_step": None}, {"best_step": "x"}])
def test_a_checkpoint_that_names_no_best_step_is_refused(
    best: dict[str, object], tmp_path: Path
) -> None:
    path, _ = made(tmp_path, 0)
    checkpoint.restate(path / "checkpoints" / "step-000040", best)
    with pytest.raises(PawlError, match="no best step"):
        export(str(path), tmp_path / "out")


def test_damaged_weights_are_not_evaluated(tmp_path: Path) -> None:
    path, _ = made(tmp_path, 0)
    weights_file = path / "checkpoints" / "step-000020" / "policy" / "model.safetensors"
    data = bytearray(weights_file.read_bytes())
    data[-1] ^= 1
    weights_file.write_bytes(data)
    for name in (str(path), f"{path}@20", f"{path}@10,20"):
        with pytest.raises(PawlError, match=r"model\.safetensors is missing or damaged"):
            run_policy(name)
    assert run_policy(f"{path}@40") is not None


def test_the_command_writes_an_average(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, _ = made(tmp_path, 4)
    code, out, _ = cli(capsys, "export", f"{path}@10,40", str(tmp_path / "out"))
    assert (code, (tmp_path / "out" / "model.safetensors").is_file()) == (0, True)
    assert "model written to" in out
