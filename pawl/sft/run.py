"""`pawl sft`: supervised training on completions alone, from a model or from random weights.

Examples never see each other: the Qwen and Llama families run without padding (`models/flat.py`),
any other causal LM packs examples into rows whose positions restart and whose attention is block
diagonal. Deterministic by seed on one machine. Left out: evaluation and checkpoints on the way.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch.nn.utils.rnn import pad_sequence

from pawl.config.options import SftConfig
from pawl.errors import PawlError
from pawl.models import flat
from pawl.models.export import write_plain
from pawl.models.fresh import fresh_policy, stored_dtype
from pawl.models.learner import POLICY, Learner, make_learner
from pawl.models.limits import require_model, require_positions
from pawl.models.logprobs import score_hidden, score_logits
from pawl.models.optim import lr_at
from pawl.models.policy import Policy, load_policy
from pawl.models.text import PromptEncoder, read_template
from pawl.sft.data import Example, pack, plan, read_lines, tokenise

BUCKET = 8  # documents of similar length that share one attention call
MICRO_TOKENS = 4096  # tokens in one forward; a batch accumulates over several
LOOKED_AT = 500  # examples whose prompts are held against what a prompt should have
LINES = 50  # progress lines of a run


def run_sft(cfg: SftConfig, echo: Callable[[str], None]) -> Path:
    """Train as the config says and write a Hugging Face folder (an adapter folder under LoRA).

    Raises PawlError for unreadable data (with line numbers), models and architecture files.
    """
    out = Path(cfg.out).expanduser()
    if out.exists() and any(out.iterdir() if out.is_dir() else [out]):
        raise PawlError(f"{out} exists and is not empty", "out", "name a new folder")
    if cfg.prompt.template:
        read_template(cfg.prompt.template)
    if not cfg.init:
        require_positions(require_model(cfg.model), cfg)
    pairs = read_lines(Path(cfg.data).expanduser())
    store = stored_dtype(Path(cfg.init).expanduser()) if cfg.init else torch.float32
    policy = _open(cfg, [problem.prompt + text for problem, text in pairs])
    for note in policy.notes:
        echo(note)
    encoder = PromptEncoder(policy.tokenizer, cfg.prompt)
    for line in encoder.form([problem for problem, _ in pairs[:LOOKED_AT]]).remarks():
        echo(f"warning: {line}")
    examples, long = tokenise(pairs, encoder, policy.tokenizer.eos_token_id, cfg.seq_len)
    if long:
        echo(f"{long} of {len(pairs)} examples are longer than seq_len and left out")
    batches = plan(examples, cfg)
    if not batches:
        raise PawlError("the run has no step", "epochs", "give steps or epochs above 0")
    count = sum(p.numel() for _, p in policy.trainable())
    echo(f"{len(examples)} examples, {len(batches)} steps, {count:,} trained parameters")
    _loop(policy, examples, batches, cfg, echo)
    policy.model.to(store)
    if policy.lora:
        policy.save(out)
    else:
        write_plain(policy.core, policy.tokenizer, out)
    echo(f"written to {out}")
    return out


def _open(cfg: SftConfig, texts: Sequence[str]) -> Policy:
    if cfg.init:
        return fresh_policy(cfg, texts)
    policy = load_policy(cfg.model, cfg.seed)
    for name, module in policy.model.named_modules():
        if "lora_dropout" in name and isinstance(module, torch.nn.Dropout):
            module.p = cfg.model.lora.dropout
            module.train()
    return policy


def _loop(
    policy: Policy,
    examples: Sequence[Example],
    batches: Sequence[Sequence[int]],
    cfg: SftConfig,
    echo: Callable[[str], None],
) -> None:
    """One optimiser step for each batch; loss = mean over completion tokens."""
    torch.manual_seed(cfg.seed)
    learner = make_learner(POLICY, policy, cfg.optim, policy.dtype)
    total, tokens, start = len(batches), 0, time.monotonic()
    for step, indices in enumerate(batches):
        batch = [examples[i] for i in indices]
        loss = _backward(policy, batch, cfg, learner)
        if not math.isfinite(loss) and policy.dtype != torch.float16:
            raise PawlError(f"the loss is {loss} at step {step + 1}", "optim.lr", "lower it")
        lr = lr_at(step, total, cfg.optim)
        learner.step(lr, cfg.optim.max_grad_norm)
        tokens += sum(len(example) for example in batch)
        if step % max(1, total // LINES) == 0 or step + 1 == total:
            spent = time.monotonic() - start
            left = spent / (step + 1) * (total - step - 1)
            echo(
                f"sft step {step + 1}/{total}  loss {loss:.4f}  lr {lr:.2e}  "
                f"{tokens / spent:,.0f} tok/s  {spent:.0f} s, {left:.0f} s left"
            )


def _backward(policy: Policy, batch: Sequence[Example], cfg: SftConfig, learner: Learner) -> float:
    """Gradient of the batch's mean loss, in micro-batches; returns the loss in nats per token."""
    count = sum(len(example.completion) for example in batch)
    longest = max(len(example) for example in batch)
    forward = _flat_logp if flat.supports(policy, longest) else _row_logp
    loss = 0.0
    for part in _micro(batch):
        with policy.forward():
            part_loss = -forward(policy, part, cfg).sum() / count
        learner.backward(part_loss)
        loss += float(part_loss.detach())
    return loss


def _micro(batch: Sequence[Example]) -> list[list[Example]]:
    parts, tokens = list[list[Example]](), MICRO_TOKENS
    for example in sorted(batch, key=len):
        if tokens + len(example) > MICRO_TOKENS:
            parts.append([])
            tokens = 0
        parts[-1].append(example)
        tokens += len(example)
    return parts


def _flat_logp(policy: Policy, batch: Sequence[Example], cfg: SftConfig) -> torch.Tensor:
    """Log-probs of all completion tokens, without padding; `batch` is sorted by length."""
    rows = [[*example.prompt, *example.completion] for example in batch]
    blocks = [flat.Block((), rows[i : i + BUCKET]) for i in range(0, len(rows), BUCKET)]
    before, target, start = list[int](), list[int](), 0
    for example in batch:
        first = start + len(example.prompt) - 1
        before += range(first, first + len(example.completion))
        target += example.completion
        start += len(example)
    layout = flat.make_layout(blocks, policy.device)
    hidden_NH = flat.hidden_states(policy, layout)[torch.tensor(before, device=policy.device)]
    return score_hidden(policy, hidden_NH, torch.tensor(target, device=policy.device), 1.0)[0]


def _row_logp(policy: Policy, batch: Sequence[Example], cfg: SftConfig) -> torch.Tensor:
    """Log-probs of all completion tokens, by rows of examples whose positions restart."""
    rows = pack(batch, cfg.seq_len, cfg.packing)
    ids = [[t for example in row for t in (*example.prompt, *example.completion)] for row in rows]
    positions = [torch.cat([torch.arange(len(example)) for example in row]) for row in rows]
    place, target = list[tuple[int, int]](), list[int]()
    for r, row in enumerate(rows):
        start = 0
        for example in row:
            first = start + len(example.prompt) - 1
            place += [(r, first + t) for t in range(len(example.completion))]
            target += example.completion
            start += len(example)
    ids_RL = pad_sequence([torch.tensor(row) for row in ids], True, policy.pad_id)
    position_RL = pad_sequence(positions, True)  # each pad restarts: it is seen by no example
    output = policy.core(
        input_ids=ids_RL.to(policy.device),
        position_ids=position_RL.to(policy.device),
        use_cache=False,
    )
    row_N, column_N = zip(*place, strict=True)
    logits_NV = output.logits[list(row_N), list(column_N)]
    return score_logits(logits_NV, torch.tensor(target, device=policy.device), 1.0)[0]
