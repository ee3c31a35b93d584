"""Many architectures from training to a folder for others: what is learned is what comes out.

Each is trained by a real optimiser step, saved as a checkpoint, loaded into a model opened afresh,
scored, exported, and read by plain transformers. The quick test takes the families whose files are
written under other names than the model's own, or which are more than a decoder of text.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_families
import tiny_models
import torch
from test_cli_commands import run as cli
from test_train_any_reward import REWARDS, rust_rows
from transformers import AutoModelForCausalLM, AutoTokenizer

from pawl.config.sources import LoraConfig, ModelConfig
from pawl.errors import PawlError
from pawl.models import checkpoint
from pawl.models.export import export
from pawl.models.logprobs import token_logprobs
from pawl.models.policy import Policy, load_policy, reference
from pawl.rollout.engine import SamplingParams
from pawl.rollout.select import make_engine
from pawl.types import Group

ADDED = ("<|think|>",)
GROUPS = tiny_models.groups([(6, [4, 7]), (3, [5])], vocab=256)
ALL = [*tiny_families.FAMILIES, "gemma3", "qwen3_5"]
QUICK = ("mixtral", "gemma3", "qwen3_5", "jamba", "phi")


def load(path: Path, lora: int, targets: tuple[str, ...] = ("all-linear",), **more: Any) -> Policy:
    adapters = LoraConfig(r=lora, targets=targets)
    return load_policy(ModelConfig(path=str(path), device="cpu", lora=adapters, **more), 0)


def logps(policy: Policy) -> torch.Tensor:
    with torch.no_grad():
        return token_logprobs(policy, GROUPS, 1.0).logp_ST


def step(learner: Any) -> None:
    """One optimiser step; every weight that trains has to be reached but rows of unseen tokens."""
    learner.backward(-token_logprobs(learner.weights, GROUPS, 1.0).logp_ST.mean())
    idle = [name for name, p in learner.weights.trainable() if p.grad is None]
    assert not idle, idle
    learner.step(1e-2, 1.0)


def plain(out: Path, groups: list[Group]) -> torch.Tensor:
    """Log-probs by transformers alone, row by row."""
    model, made = AutoModelForCausalLM.from_pretrained(out).eval(), []
    for group in groups:
        for sample in group.samples:
            ids = torch.tensor([[*group.prompt.tokens, *sample.tokens]])
            with torch.no_grad():
                logits = model(input_ids=ids).logits[0, -1 - len(sample.tokens) : -1]
            target = torch.tensor(sample.tokens)[:, None]
            made.append(logits.log_softmax(-1).gather(-1, target)[:, 0])
    return torch.nn.utils.rnn.pad_sequence(made, True)


def round_trip(path: Path, base: Path, lora: int) -> None:
    policy = load(base, lora, added_tokens=ADDED)
    start = logps(policy)
    if lora:
        with reference(policy) as frozen:
            torch.testing.assert_close(logps(frozen), start, atol=1e-5, rtol=0)
    learner = tiny_models.learner(policy)
    step(learner)
    wanted = logps(policy)
    assert (wanted - start).abs().max() > 1e-3
    (path / "run").mkdir(parents=True)
    saved = checkpoint.save(path / "run", 1, [learner], {"step": 1})
    again = tiny_models.learner(load(base, lora, added_tokens=ADDED))
    assert checkpoint.load(saved, [again]) == {"step": 1}
    assert not checkpoint.unlike(saved, [again])
    assert torch.equal(logps(again.weights), wanted)
    out = export(again.weights, path / "plain")
    torch.testing.assert_close(plain(out, GROUPS), wanted, atol=1e-5, rtol=0)
    tokenizer = AutoTokenizer.from_pretrained(out)
    own = policy.tokenizer
    assert tokenizer.convert_tokens_to_ids(ADDED[0]) == own.convert_tokens_to_ids(ADDED[0])
    assert tokenizer("let f x").input_ids == own("let f x").input_ids
    for each in (learner, again):  # a resumed learner goes on as the one that was not stopped
        step(each)
    assert torch.equal(logps(again.weights), logps(policy))


@pytest.mark.parametrize(
    ("family", "tied"),
    [
        pytest.param(family, tied, marks=() if tied and family in QUICK else (pytest.mark.slow,))
        for family in ALL
        for tied in (True, False)
    ],
)
def test_what_is_trained_is_resumed_and_exported(tmp_path: Path, family: str, tied: bool) -> None:
    base = tiny_families.folder(tmp_path / "m", family, tied)
    for lora in (0, 2):
        round_trip(tmp_path / str(lora), base, lora)


@pytest.mark.slow
@pytest.mark.parametrize("family", ALL)
def test_the_sampler_agrees_with_the_trainer(tmp_path: Path, family: str) -> None:
    policy = load(tiny_families.folder(tmp_path / "m", family), 2)
    engine, _ = make_engine(policy, "hf")
    prompts = [group.prompt for group in GROUPS]
    samples = list(engine.generate(prompts, 2, SamplingParams(max_tokens=5), 0, 0))
    groups = [
        replace(g, samples=tuple(s for s in samples if s.problem_id == g.prompt.problem_id))
        for g in GROUPS
    ]
    with torch.no_grad():
        logp_ST = token_logprobs(policy, groups, 1.0).logp_ST
    rows = [torch.tensor(s.logps) for g in groups for s in g.samples]
    gap = (torch.nn.utils.rnn.pad_sequence(rows, True) - logp_ST).abs()
    assert gap.max() < 1e-3
    assert gap.mean() < 1e-5


HEADS = {
    "qwen2": "embed_tokens",
    "gpt2": "wte",
    "gemma3": "embed_tokens",
    "mixtral": "embed_tokens",
}


@pytest.mark.parametrize("family", [*HEADS])
@pytest.mark.parametrize("which", ["head", "embedding", "both"])
def test_an_adapter_on_a_tied_head_unties_it(tmp_path: Path, family: str, which: str) -> None:
    targets = {"head": ("lm_head",), "embedding": (HEADS[family],)}
    named = targets.get(which, ("lm_head", HEADS[family]))
    base = tiny_families.folder(tmp_path / "m", family)
    policy = load(base, 2, named)
    for _ in range(2):
        step(tiny_models.learner(policy))
    wanted = logps(policy)
    out = export(policy, tmp_path / "plain")
    torch.testing.assert_close(plain(out, GROUPS), wanted, atol=2e-5, rtol=0)
    assert json.loads((out / "config.json").read_text())["tie_word_embeddings"] is False
    assert torch.equal(logps(policy), wanted)  # the policy itself stays as it was
    if family == "qwen2":
        fast, slow = (make_engine(policy, name)[0] for name in ("local", "hf"))
        ways = ([g.prompt for g in GROUPS], 2, SamplingParams(max_tokens=6), 0, 0)
        made = [sorted((s.problem_id, s.member, s.tokens) for s in fast.generate(*ways))]
        made += [sorted((s.problem_id, s.member, s.tokens) for s in slow.generate(*ways))]
        assert made[0] == made[1]


@pytest.mark.parametrize("target", ["lm_head", "embed_tokens"])
def test_rows_of_added_tokens_under_an_adapter_are_refused(tmp_path: Path, target: str) -> None:
    base = tiny_families.folder(tmp_path / "m", "qwen2")
    with pytest.raises(PawlError, match=f"beside an adapter on {target}"):
        load(base, 2, (target,), added_tokens=ADDED)


def test_what_adapters_leave_out_is_said(tmp_path: Path) -> None:
    """Experts in one tensor, and projections whose weights a kernel reads past the adapter."""
    experts = load(tiny_families.folder(tmp_path / "a", "qwen2_moe"), 2)
    assert any("experts.gate_up_proj (" in note for note in experts.notes), experts.notes
    mixed = load(tiny_families.folder(tmp_path / "b", "jamba"), 2)
    names = " ".join(name for name, _ in mixed.trainable())
    assert "in_proj.lora_A" in names and "q_proj.lora_A" in names
    assert "dt_proj" not in names and "out_proj" not in names
    assert any("mamba.out_proj" in note for note in mixed.notes), mixed.notes
    with pytest.raises(PawlError) as caught:
        load(tmp_path / "b", 2, ("dt_proj",))
    assert caught.value.where == "model.lora.targets"
    sees = load(tiny_families.folder(tmp_path / "c", "gemma3"), 0)
    assert not any("vision" in name for name, _ in sees.trainable())
    assert any("no text reaches" in note for note in sees.notes)
    assert load(tiny_families.folder(tmp_path / "d", "qwen2"), 2).notes == []


def test_an_export_that_does_not_read_back_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = load(tiny_families.folder(tmp_path / "m", "mixtral"), 0)
    real = type(policy.core).save_pretrained

    def other(model: Any, *args: Any, **kwargs: Any) -> None:
        weight = model.model.layers[0].mlp.experts.gate_up_proj
        weight.data[0, 0, 0] += 1
        real(model, *args, **kwargs)
        weight.data[0, 0, 0] -= 1

    monkeypatch.setattr(type(policy.core), "save_pretrained", other)
    with pytest.raises(PawlError, match="do not come back"):
        export(policy, tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize(("family", "lora"), [("mixtral", 0), ("gemma3", 2), ("qwen3_5", 0)])
def test_the_commands_take_a_family_from_start_to_end(
    tmp_path: Path, family: str, lora: int, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_families.folder(tmp_path / "m", family, tied=lora == 0)
    rows = "".join(json.dumps(row) + "\n" for row in rust_rows(16))
    (tmp_path / "problems.jsonl").write_text(rows)
    (tmp_path / "prompt.txt").write_text("(* {prompt} *)\n")
    config = {
        "name": "r",
        "runs_dir": str(tmp_path),
        "model": {"path": str(tmp_path / "m"), "lora": {"r": lora}, "added_tokens": ["<t>"]},
        "problems": {"train": str(tmp_path / "problems.jsonl")},
        "prompt": {"template": str(tmp_path / "prompt.txt")},
        "rollout": {"prompts": 2, "group_size": 4, "max_tokens": 12},
        "reward": {"use": f"{REWARDS}:liked"},
        "optim": {"lr": 1e-3},
        "train": {"steps": 2, "threads": 1},
        "eval": {"every": 2, "samples": 2, "problems": 2},
        "checkpoint": {"every": 1},
        "sandbox": {"workers": 1},
    }
    (tmp_path / "c.yaml").write_text(json.dumps(config))
    run = tmp_path / "r"
    assert cli(capsys, "train", str(tmp_path / "c.yaml"), "--quiet")[0] == 0
    proved = [json.loads(line) for line in (run / "preflight.jsonl").read_text().splitlines()]
    assert [c["passed"] for c in proved if c["name"] == "weights-come-back"] == [True]
    last = run / "checkpoints" / "step-000002"
    weights = sorted((last / "policy").glob("*.safetensors"))
    first = [file.read_bytes() for file in weights]
    shutil.rmtree(last)
    assert cli(capsys, "train", "--resume", str(run), "--quiet")[0] == 0
    assert [file.read_bytes() for file in weights] == first
    assert cli(capsys, "eval", str(run))[0] == 0
    assert cli(capsys, "export", f"{run}@2", str(tmp_path / "out"))[0] == 0
    policy = load(tmp_path / "m", lora, added_tokens=("<t>",))
    policy.load(last / "policy")
    torch.testing.assert_close(plain(tmp_path / "out", GROUPS), logps(policy), atol=1e-5, rtol=0)
