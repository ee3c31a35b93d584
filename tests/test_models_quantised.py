"""4-bit bases under LoRA: sampling, scoring, training, resuming and exporting agree.

Needs bitsandbytes (the extra `4bit`), whose CPU code runs these; without it the tests are skipped,
but for what must hold without it.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import tiny_runs
import torch
from test_models_policy import folder, load, logps, shake
from test_rollout_engines import gaps, prompts, run
from test_train_resume import assert_same
from transformers import AutoModelForCausalLM

from pawl.config.load import load_run
from pawl.config.sources import LoraConfig, ModelConfig
from pawl.errors import PawlError, PawlErrors
from pawl.models import checkpoint, flat, quantised
from pawl.models import export as exporting
from pawl.models.learner import make_learner
from pawl.models.logprobs import token_logprobs
from pawl.models.policy import reference
from pawl.preflight.prove import prove
from pawl.rollout.hf import HfEngine
from pawl.rollout.local import LocalEngine
from pawl.rollout.select import make_engine
from pawl.store.display import Silent
from pawl.store.read import read_steps
from pawl.store.run import RunFolder
from pawl.train.loop import train

needs_bnb = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None,
    reason="no bitsandbytes: install the extra 4bit",
)
SHAPES: dict[str, Any] = {"hidden": 64, "heads": 4, "kv_heads": 2}
FOUR: dict[str, Any] = {"quantise": "nf4", "lora": LoraConfig(r=4)}


def test_only_adapters_train_on_four_bits(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="set lora.r above 0"):
        ModelConfig(quantise="nf4")
    path = tmp_path / "a.yaml"
    path.write_text("model: {quantise: nf4}\n")
    with pytest.raises(PawlErrors, match="4-bit weights cannot be trained"):
        load_run(path, [], {})


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantised, "find_spec", lambda name: None)
    with pytest.raises(PawlError, match="nf4 needs bitsandbytes") as caught:
        load(folder(tmp_path / "m", **SHAPES), **FOUR)
    assert caught.value.where == "model.quantise"
    assert "[4bit]" in caught.value.hint


@needs_bnb
@pytest.mark.parametrize("family", ["qwen2", "llama", "qwen3"])
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_what_is_in_four_bits_and_what_is_not(tmp_path: Path, family: str, dtype: str) -> None:
    path = folder(tmp_path / "m", family, **SHAPES)
    policy, plain = load(path, dtype=dtype, **FOUR), load(path)
    kinds = {n: type(p).__name__ for n, p in policy.core.named_parameters() if "lora" not in n}
    four = {n for n, kind in kinds.items() if kind == "Params4bit"}
    assert len(four) == 2 * 7
    assert not any("embed" in n or "lm_head" in n or "norm" in n for n in four)
    assert all(weight.dtype == torch.float32 for _, weight in policy.trainable())
    assert {n.rsplit(".", 2)[1] for n, _ in policy.trainable()} <= {"lora_A", "lora_B", "default"}
    gap = (logps(policy) - logps(plain)).abs().mean()
    assert 1e-4 < gap < 0.7  # quantised, and not noise: log-probs spread over several nats


@needs_bnb
def test_a_gradient_step_leaves_reference_and_base_alone(tmp_path: Path) -> None:
    path = folder(tmp_path / "m", **SHAPES)
    policy = load(path, **FOUR)
    start = logps(policy)
    groups = tiny_models.groups([(6, [4, 7]), (3, [5])], vocab=256)
    new = token_logprobs(policy, groups, 1.0).logp_ST
    assert torch.equal(new.detach(), start)  # the same layout: the ratio is exactly 1
    new.sum().backward()
    assert all(weight.grad is not None for _, weight in policy.trainable())
    shake(policy)
    assert not torch.allclose(logps(policy), start, atol=1e-3)
    with reference(policy) as frozen:
        assert torch.equal(logps(frozen), start)


@needs_bnb
@pytest.mark.parametrize("family", ["qwen2", "llama"])
def test_flat_and_padded_forwards_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    policy = load(folder(tmp_path / "m", family, **SHAPES), **FOUR)
    shake(policy)
    assert flat.supports(policy)
    shared = logps(policy)
    monkeypatch.setattr(flat, "supports", lambda *_: False)
    torch.testing.assert_close(shared, logps(policy), atol=1e-5, rtol=0)


@needs_bnb
def test_engines_agree_and_auto_keeps_the_base_small(tmp_path: Path) -> None:
    policy = load(folder(tmp_path / "m", **SHAPES), **FOUR)
    shake(policy)
    engine, note = make_engine(policy, "auto")
    assert isinstance(engine, HfEngine)
    assert "4-bit" in note
    local, _ = make_engine(policy, "local")
    assert isinstance(local, LocalEngine)
    plain, fast = run(HfEngine(policy), prompts(), 8), run(local, prompts(), 8)
    assert sum(a.tokens == b.tokens for a, b in zip(plain, fast, strict=True)) >= 31
    assert gaps(plain, fast).mean() < 1e-5


@needs_bnb
@pytest.mark.parametrize("engine", ["hf", "local"])
def test_a_run_holds_the_laws_and_resumes_exactly(tmp_path: Path, engine: str) -> None:
    path = folder(tmp_path / "m", **SHAPES)
    config = tmp_path / "four.yaml"
    config.write_text(tiny_runs.config(path))
    ways = ["model.quantise=nf4", "model.lora.r=4", f"rollout.engine={engine}", "train.steps=3"]
    ways += [f"runs_dir={tmp_path}", "algo.kl_coef=0.01"]

    def go(name: str, control: str = "") -> Path:
        cfg, places = load_run(config, [*ways, f"name={name}"], {})
        with RunFolder.create(cfg, places) as run:
            (run.path / "control.jsonl").write_text(control)
            train(cfg, run, Silent(), False, prove)
            return run.path

    whole, cut = go("whole"), go("cut", '{"command": "stop"}\n')
    with RunFolder.open(cut) as folder_:
        train(folder_.config(), folder_, Silent(), True, prove)
    assert_same(whole, cut, steps=3)
    for record in read_steps(whole)[1:]:
        assert record["policy/ratio_max_first_pass"] == 1.0
        assert float(str(record["policy/sampler_diff_mean"])) < 1e-5
        assert float(str(record["policy/sampler_diff_max"])) < 1e-3


@needs_bnb
def test_export_merges_into_the_base_in_full_precision(tmp_path: Path) -> None:
    path = folder(tmp_path / "m", **SHAPES)
    four, full = load(path, **FOUR), load(path, lora=LoraConfig(r=4))
    cfg = load_run_config(path, tmp_path)
    with RunFolder.create(cfg) as run_folder:
        shake(four)
        shake(full)  # the same adapter: both were drawn and shaken from the same seeds
        learner = make_learner("policy", four, cfg.optim, torch.float32)
        checkpoint.save(run_folder.checkpoints_dir, 1, [learner], {"best_step": 1})
    with pytest.raises(AssertionError, match="full precision"):
        exporting.merged(four)
    out = exporting.export(str(run_folder.path), tmp_path / "out")
    plain = AutoModelForCausalLM.from_pretrained(out)
    assert not hasattr(plain.config, "quantization_config")
    ids = torch.randint(0, 256, (2, 9))
    with torch.no_grad():
        wanted = full.core(input_ids=ids).logits
        torch.testing.assert_close(plain(input_ids=ids).logits, wanted, atol=1e-4, rtol=0)
        assert (four.core(input_ids=ids).logits - wanted).abs().max() > 1e-2


def load_run_config(path: Path, runs: Path) -> Any:
    file = runs / "q.yaml"
    file.write_text(
        f"model: {{path: {path}, device: cpu, quantise: nf4, lora: {{r: 4}}}}\nruns_dir: {runs}\n"
    )
    return load_run(file, [], {})[0]
