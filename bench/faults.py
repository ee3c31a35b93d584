"""Wiring faults, put into a real run one at a time: preflight must refuse each with its cause.

    python bench/faults.py [NAME ...]

Each fault replaces named functions of Pawl while `pawl train` runs in this process, on the
quickstart's problems with few samples; none is known to the package. A fault passes when the run
is refused (exit 2) before its first optimiser step, the first refusing check names the right
cause, and the same run starts once the refusing checks are overridden by name. Prints a table.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import dataclasses
import functools
import io
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from bench.replaced import everywhere
from pawl.algo import advantages, losses
from pawl.checks import described
from pawl.cli.main import main as pawl
from pawl.models import checkpoint, flat, optim, policy
from pawl.models.logprobs import token_logprobs
from pawl.models.policy import Policy
from pawl.models.text import PromptEncoder
from pawl.preflight import prove  # noqa: F401 - so that what is replaced is replaced in it, too
from pawl.rewards import pay
from pawl.rewards.cache import MeasurementCache
from pawl.rollout import engine, sampling
from pawl.rollout.local import LocalEngine
from pawl.train import batch, data, logprob_pass, rollouts, session
from pawl.types import Completion, Measurement, Score

ROOT = Path(__file__).resolve().parent.parent
SMALL = "problems.limit=60 rollout.prompts=4 rollout.group_size=4 train.steps=2".split()
SMALL += "eval.problems=4 eval.samples=1 eval.every=0 optim.warmup=0 train.threads=1".split()
BASE = ["train", str(ROOT / "examples" / "quickstart.yaml"), *SMALL, "--quiet"]
ROUNDS = 4
Fault = Callable[[], AbstractContextManager[object]]


# ---- data ----


def held_out_is_trained() -> AbstractContextManager[object]:
    """After the audit, the held-out problems are taken from the training problems."""
    real = session.audited

    def fake(*args: Any) -> Any:
        found = real(*args)
        return dataclasses.replace(found, held_out=found.train)

    return everywhere(real, fake)


def half_of_the_problems() -> AbstractContextManager[object]:
    """The shuffle repeats half of the problems and skips the others."""
    real = data.permutation
    return everywhere(real, lambda n, *rest: real(n, *rest) // 2 * 2)


# ---- scores ----


def errors_pay_half() -> AbstractContextManager[object]:
    """What the scorers cannot judge is a score of 0.5."""

    def paid(reason: str, *_: Any) -> Measurement:
        half = {"types": 0.5, "compile": 0.5, "tests": 0.5}
        return Measurement("measured", half, "infra_error", reason)

    return patch("pawl.rewards.pool.missing", paid)


def missing_is_half() -> AbstractContextManager[object]:
    """The trainer reads a missing score as 0.5."""
    real = batch.rewards_of

    def fake(found: Any, g: int) -> Any:
        r = real(found, g)
        score_PG = torch.where(r.scored_PG, r.score_PG, 0.5)
        return batch.Rewards(score_PG, torch.ones_like(r.scored_PG), r.length_PG)

    return everywhere(real, fake)


def rescored(change: Callable[[Score], Score]) -> AbstractContextManager[object]:
    """Every score that is paid, changed."""
    real = pay.pay
    return everywhere(real, lambda *args: [change(score) for score in real(*args)])


def constant_branch() -> AbstractContextManager[object]:
    """Whatever compiles and fails is paid 0.21."""

    def change(score: Score) -> Score:
        paid = score.status == "scored" and score.verdict in ("wrong", "exception")
        return dataclasses.replace(score, total=0.21, branch="constant") if paid else score

    return rescored(change)


def few_totals() -> AbstractContextManager[object]:
    """Whatever is not right is paid the same, little enough to escape the reward's own probes."""

    def change(score: Score) -> Score:
        low = score.status == "scored" and score.total and score.verdict != "pass"
        return dataclasses.replace(score, total=0.05, branch="constant") if low else score

    return rescored(change)


def dead_component() -> AbstractContextManager[object]:
    """The type check never pays."""

    def change(score: Score) -> Score:
        parts = {name: value for name, value in score.components.items() if name != "types"}
        return dataclasses.replace(score, components=parts | {"types": 0.0}) if parts else score

    return rescored(change)


def scorers_are_gone() -> AbstractContextManager[object]:
    """No score can be had."""
    gone = Score("missing", None, "infra_error", "missing", reason="the sandbox is gone")
    return rescored(lambda score: gone)


def characters_for_tokens() -> AbstractContextManager[object]:
    """The reward is told a completion's length in characters."""

    def fake(name: str, text: str, _n: int, finish: Any) -> Completion:
        return Completion(name, text, len(text), finish)

    return patch.object(rollouts, "Completion", fake)


# ---- groups ----


def scores_roll() -> AbstractContextManager[object]:
    """Every score stands at the next completion."""
    real = rollouts.collect

    def fake(*args: Any) -> Any:
        found = real(*args)
        return dataclasses.replace(found, scores_S=found.scores_S[1:] + found.scores_S[:1])

    return everywhere(real, fake)


def groups_are_mixed() -> AbstractContextManager[object]:
    """The members of a group are completions of different prompts."""
    real = rollouts.collect

    def fake(*args: Any) -> Any:
        found = real(*args)
        rows = [x for group in found.groups for x in group.samples]
        rows, g = rows[1:] + rows[:1], len(found.groups[0].samples)
        groups = [
            dataclasses.replace(group, samples=tuple(rows[i * g : (i + 1) * g]))
            for i, group in enumerate(found.groups)
        ]
        return dataclasses.replace(found, groups=tuple(groups))

    return everywhere(real, fake)


def one_stream_for_all() -> AbstractContextManager[object]:
    """All members of a group are drawn with the same random numbers."""
    real = engine.uniforms
    return everywhere(real, lambda seed, step, name, member, n: real(seed, step, name, 0, n))


def sign_is_turned() -> AbstractContextManager[object]:
    """Advantages have the wrong sign."""
    real = advantages.dr_grpo
    return patch.object(advantages, "dr_grpo", lambda *args: -real(*args))


def advantage_is_nan() -> AbstractContextManager[object]:
    """A division by zero in the advantages."""
    real = advantages.grpo
    return patch.object(advantages, "grpo", lambda *args: real(*args) / 0.0)


# ---- text ----


def eos_is_cut() -> AbstractContextManager[object]:
    """The end token is cut off the completions, so it is never trained."""
    real = sampling.Row.sample

    def fake(self: Any, tokenizer: Any, version: int) -> Any:
        if self.finish == "stop" and len(self.tokens) > 1:
            self.tokens.pop(), self.logps.pop()
        return real(self, tokenizer, version)

    return patch.object(sampling.Row, "sample", fake)


def prompt_is_closed() -> AbstractContextManager[object]:
    """Prompts end with the end token."""
    real = PromptEncoder.encode_many

    def fake(self: Any, problems: Any) -> Any:
        return [(*ids, self.tokenizer.eos_token_id) for ids in real(self, problems)]

    return patch.object(PromptEncoder, "encode_many", fake)


def positions_run_on() -> AbstractContextManager[object]:
    """Positions count on from one row to the next."""
    real = flat.make_layout

    def fake(*args: Any) -> Any:
        layout = real(*args)
        positions = torch.arange(len(layout.token_N), device=layout.token_N.device) % 64
        return dataclasses.replace(layout, position_N=positions)

    return patch.object(flat, "make_layout", fake)


# ---- log-probs and loss ----


def prompt_in_the_loss() -> AbstractContextManager[object]:
    """The last tokens of the prompt count as completion."""

    def fake(model: Any, groups: Any, temperature: float, entropy_grad: bool = False) -> Any:
        moved = []
        for group in groups:
            tail = group.prompt.tokens[-3:]
            prompt = dataclasses.replace(group.prompt, tokens=group.prompt.tokens[:-3])
            rows = tuple(
                dataclasses.replace(x, tokens=tail + x.tokens, logps=(0.0,) * 3 + x.logps)
                for x in group.samples
            )
            moved.append(dataclasses.replace(group, prompt=prompt, samples=rows))
        return token_logprobs(model, moved, temperature, entropy_grad)

    return everywhere(token_logprobs, fake)


def padding_in_the_loss() -> AbstractContextManager[object]:
    """Padding counts like sampled tokens."""

    def fake(*args: Any) -> Any:
        found = token_logprobs(*args)
        return dataclasses.replace(found, mask_ST=torch.ones_like(found.mask_ST))

    return everywhere(token_logprobs, fake)


def nothing_in_the_loss() -> AbstractContextManager[object]:
    """No token counts: a mask of the wrong turn."""

    def fake(*args: Any) -> Any:
        found = token_logprobs(*args)
        return dataclasses.replace(found, mask_ST=torch.zeros_like(found.mask_ST))

    return everywhere(token_logprobs, fake)


def wrong_normaliser() -> AbstractContextManager[object]:
    """The loss is divided by rows of the padded rectangle instead of sampled tokens."""
    return patch.object(losses, "count", lambda mask_ST, normaliser: mask_ST.numel())


def dropout_is_on() -> AbstractContextManager[object]:
    """The trainer's forward drops hidden units."""
    real = flat.hidden_states
    return patch.object(
        flat, "hidden_states", lambda *args: nn.functional.dropout(real(*args), 0.1)
    )


def cooler_sampler() -> AbstractContextManager[object]:
    """The sampler draws at 0.7 of the temperature and reports log-probs at the full one."""
    real = sampling.choose

    def fake(logits: Any, uniform: Any, params: Any, history: Any = ()) -> Any:
        cold = dataclasses.replace(params, temperature=0.7 * params.temperature)
        token_S, _, kept = real(logits, uniform, cold, history)
        logp_SV = torch.log_softmax(logits / params.temperature, -1)
        return token_S, logp_SV.gather(-1, token_S[:, None])[:, 0], kept

    return everywhere(real, fake)


def top_k_sampler() -> AbstractContextManager[object]:
    """The sampler keeps the two likeliest tokens and reports log-probs of all."""
    real = sampling.choose

    def fake(logits: Any, uniform: Any, params: Any, history: Any = ()) -> Any:
        floor = logits.topk(2, -1).values[:, -1:]
        token_S, _, kept = real(logits.masked_fill(logits < floor, -1e9), uniform, params, history)
        logp_SV = torch.log_softmax(logits / params.temperature, -1)
        return token_S, logp_SV.gather(-1, token_S[:, None])[:, 0], kept

    return everywhere(real, fake)


def old_is_new() -> AbstractContextManager[object]:
    """The ratio compares the policy with itself."""

    def fake(logp_ST: Any, _old_ST: Any, mask_ST: Any) -> Any:
        return torch.where(mask_ST, logp_ST - logp_ST.detach(), 0.0)

    return everywhere(losses.log_ratio, fake)


# ---- weights ----


def reference_is_the_policy() -> AbstractContextManager[object]:
    """The reference is the very model that is trained."""

    def fake(own: Any) -> None:
        own.frozen = own.model

    return everywhere(policy.freeze_reference, fake)


def reference_is_another() -> AbstractContextManager[object]:
    """The reference is another checkpoint than the start."""

    def fake(own: Any) -> None:
        own.frozen = copy.deepcopy(own.model).requires_grad_(False)
        with torch.no_grad():
            for p in own.frozen.parameters():
                p.mul_(1.05)

    return everywhere(policy.freeze_reference, fake)


def optimiser_holds_copies() -> AbstractContextManager[object]:
    """The optimiser was built on copies of the weights."""
    real = optim.make_optimizer

    def fake(named: Any, cfg: Any) -> Any:
        return real([(name, nn.Parameter(p.detach().clone())) for name, p in named], cfg)

    return everywhere(real, fake)


def layers_are_frozen() -> AbstractContextManager[object]:
    """Some weights were frozen after the optimiser took them."""
    real = optim.make_optimizer

    def fake(named: Any, cfg: Any) -> Any:
        pairs = list(named)
        made = real(pairs, cfg)
        for _, p in pairs[::2]:
            p.requires_grad_(False)
        return made

    return everywhere(real, fake)


def load_replaces_weights() -> AbstractContextManager[object]:
    """Loading a checkpoint puts new tensors into the model; the optimiser keeps the old ones."""
    real = Policy.load

    def fake(own: Any, folder: Path) -> None:
        real(own, folder)
        new = {id(p): nn.Parameter(p.detach().clone()) for p in own.model.parameters()}
        for module in own.model.modules():
            for name, p in list(module.named_parameters(recurse=False)):
                setattr(module, name, new[id(p)])

    return patch.object(Policy, "load", fake)


def save_loses_a_weight() -> AbstractContextManager[object]:
    """Saving leaves one weight of the model out."""
    real = Policy.save

    def fake(own: Any, folder: Path) -> None:
        real(own, folder)
        file = next(folder.glob("*.safetensors"))
        kept = load_file(file)
        kept.pop(min(kept))
        save_file(kept, file)

    return patch.object(Policy, "save", fake)


def load_forgets_weights() -> AbstractContextManager[object]:
    """Loading a checkpoint leaves the base model's weights in place."""
    return patch.object(Policy, "load", lambda own, folder: None)


def load_forgets_moments() -> AbstractContextManager[object]:
    """Loading a checkpoint starts the optimiser's moments anew."""
    return patch.object(checkpoint, "_to_state", lambda key, value, param: torch.zeros_like(value))


def sampler_is_the_trainer() -> AbstractContextManager[object]:
    """The log-prob pass compares the trainer's log-probs with themselves."""
    real = logprob_pass._forward

    def fake(*args: Any) -> Any:
        micro = real(*args)
        args[-1].sampler_diff = args[-1].sampler_diff_max = 0.0
        return dataclasses.replace(micro, sampler_logp_ST=micro.old_logp_ST.double())

    return patch.object(logprob_pass, "_forward", fake)


def engine_keeps_old_weights() -> AbstractContextManager[object]:
    """The engine takes the new version's number without its weights."""

    def fake(self: Any, own: Any, version: int) -> None:
        self.policy, self.version = own, version

    return patch.object(LocalEngine, "sync_weights", fake)


def nothing() -> AbstractContextManager[object]:
    """No fault in the code: the config alone is wrong."""
    return contextlib.nullcontext()


FAULTS: dict[str, tuple[Fault, str, list[str]]] = {
    "held-out is trained": (held_out_is_trained, "leakage", []),
    "half of the problems": (half_of_the_problems, "data-order", []),
    "errors pay 0.5": (errors_pay_half, "error-as-reward", []),
    "missing read as 0.5": (missing_is_half, "error-as-reward", []),
    "constant branch": (constant_branch, "reward-bug", []),
    "few totals": (few_totals, "reward-bug", []),
    "dead component": (dead_component, "dead-component", []),
    "scorers gone": (scorers_are_gone, "judge-outage", []),
    "characters for tokens": (characters_for_tokens, "reward-bug", []),
    "scores roll": (scores_roll, "group-integrity", []),
    "groups mixed": (groups_are_mixed, "group-integrity", []),
    "one stream": (one_stream_for_all, "group-integrity", []),
    "sign turned": (sign_is_turned, "group-integrity", []),
    "advantage NaN": (advantage_is_nan, "non-finite", []),
    "EOS cut": (eos_is_cut, "template-or-eos", []),
    "prompt closed": (prompt_is_closed, "template-or-eos", []),
    "positions run on": (positions_run_on, "padding-side", []),
    "prompt in the loss": (prompt_in_the_loss, "loss-covers-prompt", []),
    "padding in the loss": (padding_in_the_loss, "loss-covers-prompt", []),
    "nothing in the loss": (nothing_in_the_loss, "loss-covers-prompt", []),
    "wrong normaliser": (wrong_normaliser, "loss-covers-prompt", []),
    "dropout on": (dropout_is_on, "sampler-mismatch", []),
    "cooler sampler": (cooler_sampler, "sampler-mismatch", []),
    "top-k sampler": (top_k_sampler, "sampler-mismatch", []),
    "old is new": (old_is_new, "algebraic-identity", []),
    "reference is policy": (reference_is_the_policy, "reference-mismatch", ["algo.kl_coef=0.05"]),
    "reference is another": (reference_is_another, "reference-mismatch", ["algo.kl_coef=0.05"]),
    "optimiser on copies": (optimiser_holds_copies, "optimiser-detached", []),
    "layers frozen": (layers_are_frozen, "optimiser-detached", []),
    "weight not saved": (save_loses_a_weight, "optimiser-detached", []),
    "load detaches": (load_replaces_weights, "optimiser-detached", ["resume"]),
    "load forgets weights": (load_forgets_weights, "optimiser-detached", ["resume"]),
    "load forgets moments": (load_forgets_moments, "optimiser-detached", ["resume"]),
    "sampler is the trainer": (sampler_is_the_trainer, "algebraic-identity", []),
    "engine keeps weights": (engine_keeps_old_weights, "stale-weights", []),
    "warm-up too long": (nothing, "schedule-never-warm", ["optim.warmup=500"]),
    "cap below answers": (nothing, "completion-cap", ["rollout.max_tokens=20"]),
}
"""name -> (fault, cause id that must come first, options or "resume")."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """exit_code and refusing checks of the faulty run; exit code with these overridden."""

    exit_code: int
    causes: list[str]
    checks: list[str]
    updates: int
    overridden_code: int


def call(*args: str) -> int:
    """Exit code of the command line, run here and silent."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            pawl([*args])
        except SystemExit as e:
            return int(e.code or 0)
    raise AssertionError("the command line ends with SystemExit")


def refusing(run: Path) -> list[dict[str, Any]]:
    """The rows of preflight.jsonl that refuse, those of the newest preflight."""
    path = run / "preflight.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    first = [i for i, row in enumerate(rows) if row["name"] in ("leakage", "min_lines")]
    newest = rows[first[-1] :] if first and len(first) > 1 else rows
    return [r for r in newest if r["passed"] is False and r["refuses"] and not r["overridden"]]


@functools.cache
def finished() -> tempfile.TemporaryDirectory[str]:
    """A folder with a run of two steps without a fault, made once."""
    folder = tempfile.TemporaryDirectory(prefix="pawl-faults-")
    ways = [f"runs_dir={folder.name}", "name=plain", "checkpoint.every=1"]
    assert call(*BASE, *ways) == 1, "two steps miss the target"
    return folder


def measured() -> AbstractContextManager[object]:
    """Programs that the run without a fault measured are not run again; each run has a copy."""
    known = Path(finished().name) / "plain" / "measurements.sqlite"

    def fake(path: Path) -> MeasurementCache:
        if not path.exists():
            shutil.copyfile(known, path)
        return MeasurementCache(path)

    return patch("pawl.rewards.pool.MeasurementCache", fake)


def run_fault(fault: Fault, options: list[str], folder: Path, override: bool = True) -> Outcome:
    """The faulty run, and if asked the same with what refused it overridden."""
    resume = "resume" in options
    base = [*BASE, f"runs_dir={folder}", *(o for o in options if o != "resume")]
    if resume:
        shutil.copytree(Path(finished().name) / "plain", folder / "plain")
        cut_back(folder / "plain")
    with measured(), fault():
        again = ["train", "--resume", str(folder / "plain"), "--quiet"]
        code = call(*(again if resume else [*base, "name=plain"]))
        rows = refusing(folder / "plain")
        steps = (folder / "plain" / "steps.jsonl").read_text().splitlines() if resume else []
        updates = len(steps) - 2 if resume else len(list((folder / "plain").glob("steps.jsonl")))
        names = list(dict.fromkeys(override_name(r) for r in rows))
        over, allowed = 0, names
        rounds = 0 if resume or not override else ROUNDS
        for i in range(rounds):  # what was let through may let others fail
            given = f"train.override=[{','.join(allowed)}]"
            over = call(*base, f"name=overridden-{i}", given)
            more = [override_name(r) for r in refusing(folder / f"overridden-{i}")]
            if over != 2 or not more:
                break
            allowed = list(dict.fromkeys(allowed + more))
    return Outcome(code, [r["cause"] for r in rows], names, updates, over)


def cut_back(run: Path) -> None:
    """Make a finished run of two steps one that stopped after its first."""
    shutil.rmtree(run / "checkpoints" / "step-000002")


def override_name(row: dict[str, Any]) -> str:
    """What train.override takes for a row: the reward's probes share one name."""
    own = "step" in row or str(row["name"]) in described()
    return str(row["name"]) if own else "calibration"


def main() -> int:
    """Run the faults and print the table; exit 1 when one slips through."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="faults by name; none is all")
    args = parser.parse_args()
    good = True
    for name in args.names or FAULTS:
        fault, cause, options = FAULTS[name]
        with tempfile.TemporaryDirectory() as folder:
            out = run_fault(fault, options, Path(folder))
        found = out.causes[0] if out.causes else "none"
        well = out.exit_code == 2 and found == cause
        good = good and well
        word = "refused" if well else "SLIPPED"
        print(
            f"{name:22} {word} exit {out.exit_code} cause {found} (wanted {cause}); "
            f"{', '.join(out.checks[:4])}; overridden: exit {out.overridden_code}",
            flush=True,
        )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
