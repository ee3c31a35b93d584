"""Faults in real runs, and healthy ones: does `pawl doctor` see the first, spare the second.

    python -m bench.doctor_faults record FOLDER [--jobs 2] [NAME ...]   # two hours on 2 cores
    python -m bench.doctor_faults judge [FOLDER]                        # half a minute

`judge` without a folder takes the recorded runs of the repository (`packed.py`).

Each run is `pawl train` on the quickstart's problems, in a process of its own. A fault replaces
named functions of Pawl there, or sets an option as a user might; preflight is let through, so that
the run starts. Healthy runs cover every preset and two architectures. `judge` diagnoses each folder
twice, with preflight.jsonl and without, and prints recall, causes and false alarms. A fault's
weights are compared with those of a healthy twin of the same options: equal ones mean that the
patch did nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import shutil
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from transformers import GenerationMixin

from bench import faults, packed
from pawl.cli.main import main as pawl
from pawl.doctor.diagnose import Diagnosis, diagnose
from pawl.logs.recognise import read_logs
from pawl.models import learner, logprobs
from pawl.models.logprobs import token_logprobs
from pawl.preflight import prove as preflight
from pawl.train import data, loop, session
from pawl.types import Score, Verdict

ROOT = Path(__file__).resolve().parent.parent
BASE = """problems.limit=200 rollout.prompts=8 rollout.group_size=8 eval.problems=40 eval.samples=2
eval.every=20 checkpoint.every=0 train.threads=1 sandbox.workers=1""".split()
FAULTY, HEALTHY = 40, 200  # steps


@dataclass(frozen=True)
class Case:
    """A run. causes: acceptable first ones, empty for a healthy run."""

    fault: Callable[[], AbstractContextManager[object]]
    causes: frozenset[str]
    options: tuple[str, ...] = ()
    steps: int = FAULTY


def paid(total: float) -> Callable[[], AbstractContextManager[object]]:
    """Every scored completion gets the same total, and passes only where it is 1."""

    def change(score: Score) -> Score:
        verdict: Verdict = "pass" if total == 1.0 else "wrong"
        return score if score.total is None else replace(score, total=total, verdict=verdict)

    return lambda: faults.rescored(change)


def errors_are_paid() -> AbstractContextManager[object]:
    """Every eighth score fails in the judge and is paid 0.5."""

    def change(score: Score) -> Score:
        if score.total is None or zlib.crc32(repr((score.total, score.components)).encode()) % 8:
            return score
        return replace(score, total=0.5, verdict="infra_error", branch="missing", components={})

    return faults.rescored(change)


def tests_never_pay() -> AbstractContextManager[object]:
    """The tests' component is 0 whatever passes, in the total too."""

    def change(score: Score) -> Score:
        if score.total is None or not score.components:
            return score
        parts = {**score.components, "tests": 0.0}
        return replace(score, total=min(score.total, 0.35), components=parts)

    return faults.rescored(change)


def sorted_problems() -> AbstractContextManager[object]:
    """Problems come in the order of their statement's length, the same in every epoch."""
    real = session.prepare

    def fake(*args: Any, **kwargs: Any) -> Any:
        found = real(*args, **kwargs)
        order = sorted(range(len(found.train)), key=lambda i: len(found.train[i].prompt))
        return replace(found, train=found.train.select(order))

    both = ExitStack()
    both.enter_context(patch.object(session, "prepare", fake))
    both.enter_context(patch.object(data, "permutation", lambda n, *a: np.arange(n)))
    return both


def rarely_synced() -> AbstractContextManager[object]:
    """The engine takes new weights only every fifteenth time."""
    real, calls = faults.LocalEngine.sync_weights, [0]

    def fake(self: Any, own: Any, version: int) -> None:
        calls[0] += 1
        if calls[0] % 15 == 1:
            real(self, own, version)
        else:
            self.version = version

    return patch.object(faults.LocalEngine, "sync_weights", fake)


def held_out_leaks_in() -> AbstractContextManager[object]:
    """Held-out problems stand in the training set, in place of its last third."""
    real = session.audited

    def fake(*args: Any) -> Any:
        found = real(*args)
        train, held = found.train, found.held_out
        assert train.origins == held.origins, "both were split from one set"
        kept = train[: -(len(train) // 3)]
        leaked = held[: len(train) - len(kept)]
        return replace(found, train=type(train)(train.origins, kept.members + leaked.members))

    return faults.everywhere(real, fake)


def alike_in_a_group() -> AbstractContextManager[object]:
    """Every member of a group gets the score of its first one."""
    real = loop.gather

    def fake(*args: Any) -> Any:
        batch = real(*args)
        scores, size = batch.rollouts.scores_S, len(batch.rollouts.groups[0].samples)
        same = [replace(scores[i - i % size], tier=s.tier) for i, s in enumerate(scores)]
        return replace(batch, rollouts=replace(batch.rollouts, scores_S=same))

    return patch.object(loop, "gather", fake)


def reward_times_100() -> AbstractContextManager[object]:
    """Totals are percentages where shares of 1 are expected."""
    return faults.rescored(lambda s: s if s.total is None else replace(s, total=100 * s.total))


def eos_is_masked() -> AbstractContextManager[object]:
    """The last token of every completion, its end token, takes no part in the loss."""

    def fake(*args: Any) -> Any:
        found = token_logprobs(*args)
        mask_ST = found.mask_ST.clone()
        mask_ST[torch.arange(len(mask_ST)), mask_ST.sum(1) - 1] = False
        return replace(found, mask_ST=mask_ST)

    return faults.everywhere(token_logprobs, fake)


def scored_one_off() -> AbstractContextManager[object]:
    """The trainer scores at each place the token of the place before."""
    real = logprobs.score_hidden

    def fake(policy: Any, hidden_NH: Any, target_N: Any, *args: Any) -> Any:
        return real(policy, hidden_NH, target_N.roll(1), *args)

    return patch.object(logprobs, "score_hidden", fake)


def padded_on_the_right() -> AbstractContextManager[object]:
    """The engine pads prompts on the right, so that completions go on from padding."""
    real = GenerationMixin.generate

    def fake(self: Any, *, input_ids: Any, attention_mask: Any, **kwargs: Any) -> Any:
        pads = (attention_mask == 0).sum(1).tolist()
        ids = torch.stack([row.roll(-n) for row, n in zip(input_ids, pads, strict=True)])
        mask = torch.stack([row.roll(-n) for row, n in zip(attention_mask, pads, strict=True)])
        return real(self, input_ids=ids, attention_mask=mask, **kwargs)

    return patch.object(GenerationMixin, "generate", fake)


def kl_is_rewarded() -> AbstractContextManager[object]:
    """The KL enters the loss with the wrong sign."""
    real = loop.train_batch

    def fake(*args: Any) -> Any:
        made = real(*args)
        return replace(made, kl_coef=-made.kl_coef)

    return patch.object(loop, "train_batch", fake)


def gradient_is_lost() -> AbstractContextManager[object]:
    """Gradients are cleared between backward and the optimiser."""
    real = learner.clip_grad_norm

    def fake(parameters: Any, most: float) -> float:
        for p in parameters:
            if p.grad is not None:
                p.grad.zero_()
        return real(parameters, most)

    return patch.object(learner, "clip_grad_norm", fake)


def rate_of_zero() -> AbstractContextManager[object]:
    """The schedule gives 0 at every step."""
    return patch.object(loop, "lr_at", lambda *args: 0.0)


def known(*names: str) -> dict[str, Case]:
    """Wiring faults of bench/faults.py, with the cause that preflight must name and its kin."""
    kin = {
        "reward-bug": {"reward-floor", "dead-component", "error-as-reward"},
        "error-as-reward": {"reward-bug", "reward-floor", "judge-outage"},
        "dead-component": {"reward-bug", "reward-floor"},
        "sampler-mismatch": {"stale-weights", "template-or-eos"},
        "stale-weights": {"sampler-mismatch"},
        "optimiser-detached": {"lr-too-low", "algebraic-identity"},
        "reference-mismatch": {"algebraic-identity", "sampler-mismatch"},
        "loss-covers-prompt": {"algebraic-identity"},
        "template-or-eos": {"completion-cap", "sampler-mismatch"},
        "padding-side": {"sampler-mismatch"},
        "group-integrity": {"zero-signal-groups", "random-walk", "policy-collapsed", "reward-bug"},
        "schedule-never-warm": {"lr-too-low"},
        "completion-cap": {"reward-floor"},
        "judge-outage": {"error-as-reward"},
    }
    found = {}
    for name in names:
        fault, cause, options = faults.FAULTS[name]
        causes = frozenset({cause, *kin.get(cause, ())})
        found[name] = Case(fault, causes, tuple(options))
    return found


def by_option(option: str, *causes: str) -> Case:
    """A fault that a user's option makes."""
    return Case(faults.nothing, frozenset(causes), (option,))


FLAT = frozenset({"zero-signal-groups", "reward-bug", "dead-component"})
CASES: dict[str, Case] = {
    **known(
        "half of the problems", "constant branch",
        "few totals", "scores roll", "groups mixed",
        "one stream", "sign turned", "advantage NaN", "EOS cut", "prompt closed",
        "positions run on", "prompt in the loss", "padding in the loss", "dropout on",
        "cooler sampler", "top-k sampler", "reference is policy",
        "reference is another", "optimiser on copies", "layers frozen",
        "engine keeps weights", "warm-up too long", "cap below answers", "wrong normaliser",
    ),
    "old is new": Case(
        faults.FAULTS["old is new"][0], frozenset({"algebraic-identity"}), ("algo.epochs=2",)
    ),
    "held-out leaks in": Case(held_out_leaks_in, frozenset({"leakage"})),
    "errors are paid": Case(
        errors_are_paid, frozenset({"error-as-reward", "reward-bug", "judge-outage"})
    ),
    "tests never pay": Case(tests_never_pay, FLAT | {"reward-floor", "format-only"}),
    "lr x30": by_option("optim.lr=1.2e-2", "lr-too-high", "policy-collapsed"),
    "lr /30": by_option("optim.lr=1.3e-5", "lr-too-low"),
    "all wrong": Case(paid(0.0), FLAT | {"reward-floor"}),
    "all right": Case(paid(1.0), FLAT | {"reward-floor", "converged"}),
    "rarely synced": Case(rarely_synced, frozenset({"stale-weights", "sampler-mismatch"})),
    "sorted problems": Case(sorted_problems, frozenset({"data-order"})),
    "all partial": Case(paid(0.5), FLAT | {"reward-floor"}),
    "alike in a group": Case(alike_in_a_group, FLAT | {"group-integrity"}),
    "reward x100": Case(reward_times_100, frozenset({"reward-bug"}), ("algo.preset=dr_grpo",)),
    "EOS masked": Case(eos_is_masked, frozenset({"loss-covers-prompt", "template-or-eos"})),
    "scored one off": Case(scored_one_off, frozenset({"sampler-mismatch"})),
    "padded on the right": Case(
        padded_on_the_right, frozenset({"padding-side", "sampler-mismatch"}), ("rollout.engine=hf",)
    ),
    "KL rewarded": Case(
        kl_is_rewarded,
        frozenset({"random-walk", "reference-mismatch", "lr-too-high", "policy-collapsed"}),
        ("algo.kl_coef=0.5",),
    ),
    "gradient is lost": Case(
        gradient_is_lost, frozenset({"optimiser-detached", "algebraic-identity", "lr-too-low"})
    ),
    "rate of zero": Case(
        rate_of_zero, frozenset({"lr-too-low", "optimiser-detached", "schedule-never-warm"})
    ),
    "greedy": by_option("rollout.temperature=0.05", "policy-collapsed", "zero-signal-groups"),
}  # fmt: skip
PRESETS = "grpo dr_grpo dapo gspo cispo rloo reinforce_pp raft".split()
for _name in PRESETS:
    CASES[f"healthy {_name}"] = Case(
        faults.nothing, frozenset(), (f"algo.preset={_name}",), HEALTHY
    )
for _seed in range(1, 6):
    CASES[f"healthy seed {_seed}"] = Case(faults.nothing, frozenset(), (f"seed={_seed}",), HEALTHY)
for _name, _options in {
    "llama": ("model.path=LLAMA",),
    "llama seed 1": ("model.path=LLAMA", "seed=1"),
    "lora": ("model.lora.r=8", "optim.lr=2e-3"),
    "kl": ("algo.kl_coef=0.02",),
    "constant lr": ("optim.schedule=constant",),
    "two passes": ("algo.epochs=2", "algo.minibatches=2"),
    "temperature": ("rollout.temperature=0.9",),
}.items():
    CASES[f"healthy {_name}"] = Case(faults.nothing, frozenset(), _options, HEALTHY)


def twin_of(case: Case) -> str:
    """The healthy run that a fault's weights are compared with: of the same options, if it has a
    patch, else of none."""
    patched = case.fault is not faults.nothing
    return " ".join(("twin", *case.options)) if patched else "twin"


for _case in [case for case in CASES.values() if case.causes]:
    CASES[twin_of(_case)] = Case(
        faults.nothing, frozenset(), _case.options if twin_of(_case) != "twin" else (), FAULTY
    )


@contextmanager
def let_through() -> Iterator[None]:
    """Preflight and calibration are recorded and refuse nothing."""
    with (
        patch.object(preflight, "require", lambda *a, **k: None),
        patch.object(session, "require", lambda *a, **k: None),
    ):
        yield


def folder_of(name: str) -> str:
    """A case's name as a folder's."""
    return name.replace(" ", "-").replace("/", "by-")


def one(name: str, folder: Path) -> int:
    """Record one run; its exit code."""
    case = CASES[name]
    options = [o.replace("LLAMA", str(folder / "llama")) for o in case.options if o != "resume"]
    config = str(ROOT / "examples" / "quickstart.yaml")
    args = ["train", config, *BASE, f"train.steps={case.steps}", f"runs_dir={folder}"]
    own = folder / folder_of(name)
    shutil.rmtree(own, ignore_errors=True)
    with contextlib.redirect_stdout(io.StringIO()), let_through(), case.fault():
        try:
            pawl([*args, f"name={own.name}", *options, "--quiet"])
        except SystemExit as e:
            code = int(e.code or 0)
    digest = hashlib.sha256()
    for path in sorted((own / "checkpoints").glob("step-*/policy/*.safetensors")):
        if path.name != "optimizer.safetensors":
            digest = hashlib.sha256(path.read_bytes())  # the newest one counts
    shutil.rmtree(own / "checkpoints", ignore_errors=True)
    (own / "case.json").write_text(
        json.dumps({"name": name, "exit": code, "weights": digest.hexdigest()})
    )
    return code


def llama(folder: Path) -> None:
    """The bundled model's weights in Llama's architecture: its projections with biases."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from pawl.models.source import bundled_path

    old = AutoModelForCausalLM.from_pretrained(bundled_path())
    known = old.config.to_dict()
    keep = (
        "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads "
        "num_key_value_heads max_position_embeddings rms_norm_eps rope_parameters "
        "tie_word_embeddings bos_token_id eos_token_id pad_token_id"
    ).split()
    config = LlamaConfig(**{k: known[k] for k in keep if k in known}, attention_bias=True)
    new = LlamaForCausalLM(config)
    missing, odd = new.load_state_dict(old.state_dict(), strict=False)
    assert not odd, odd
    for name in missing:
        if name.endswith("o_proj.bias"):
            new.get_parameter(name).data.zero_()
    new.save_pretrained(folder / "llama")
    AutoTokenizer.from_pretrained(bundled_path()).save_pretrained(folder / "llama")


def record(folder: Path, names: list[str], jobs: int) -> int:
    """Run the named cases that are not there yet, `jobs` at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "llama").exists():
        llama(folder)
    todo = [n for n in names or CASES if not (folder / folder_of(n) / "case.json").exists()]

    def run(name: str) -> None:
        command = [sys.executable, "-m", "bench.doctor_faults", "one", str(folder), name]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        print(f"{name:24} {done.returncode} {done.stderr.strip()[-300:]}", flush=True)

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(run, todo))
    return 0


SICK = ("INVALID RUN", "FAULT")


def looked_at(run: Path, withheld: bool) -> Diagnosis:
    """The diagnosis of a recorded run; withheld: as if there had been no preflight."""
    if not withheld:
        return diagnose(read_logs(run)[0])
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "run"
        shutil.copytree(run, copy, ignore=shutil.ignore_patterns("preflight.jsonl", "*.sqlite*"))
        rows = [e for e in (copy / "events.jsonl").read_text().splitlines() if e.strip()]
        kept = [e for e in rows if json.loads(e)["kind"] not in ("preflight", "finding")]
        (copy / "events.jsonl").write_text("".join(f"{e}\n" for e in kept))
        return diagnose(read_logs(copy)[0])


def seen(d: Diagnosis) -> bool:
    """Whether anything was found: a sick verdict, or a critical finding in too short a run."""
    return d.verdict in SICK or any(f.severity == "critical" for f in d.findings)


def weights(folder: Path, name: str) -> str:
    """The digest of a recorded run's last weights, "" where it is not recorded."""
    file = folder / folder_of(name) / "case.json"
    return str(json.loads(file.read_text())["weights"]) if file.exists() else ""


def judge(folder: Path) -> int:
    """The table of all recorded runs; 1 when a bound of it is missed."""
    if folder.is_file():
        with tempfile.TemporaryDirectory() as runs:
            packed.unpack(folder, Path(runs))
            return judge(Path(runs))
    good = True
    for withheld in (True, False):
        print("\npreflight withheld" if withheld else "\npreflight given")
        faulty, hit, first, alarms, steps = 0, 0, 0, 0, 0
        for name, case in CASES.items():
            own = folder / folder_of(name)
            if not (own / "case.json").exists() or name.startswith("twin"):
                continue
            d = looked_at(own, withheld)
            cause = d.causes[0].id if d.causes else ""
            if case.causes:
                faulty += 1
                hit += seen(d)
                right = seen(d) and cause in case.causes
                first += right
                mark = "ok" if right else "cause" if seen(d) else "MISSED"
                if weights(folder, name) == weights(folder, twin_of(case)):
                    mark, good = f"{mark}, weights are the twin's", False
            else:
                steps += case.steps
                alarms += d.verdict in SICK
                mark = "ALARM" if d.verdict in SICK else "ok"
            codes = " ".join(f.code for f in d.findings if f.severity == "critical")
            print(f"  {name:24} {mark:8} {d.verdict:20} {cause:22} {codes}")
        print(
            f"  faults {faulty}: seen {hit}, an acceptable cause first {first}; "
            f"healthy steps {steps}: {alarms} alarms"
        )
        good = good and hit >= 0.9 * faulty and first >= 0.75 * faulty
        good = good and alarms * 1000 <= steps
    return 0 if good else 1


def main() -> int:
    """Record, or judge what was recorded."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("record", "one", "judge"))
    parser.add_argument("folder", type=Path, nargs="?", default=packed.PACKED)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_intermixed_args()
    if args.what == "one":
        one(args.names[0], args.folder)
        return 0
    if args.what == "record":
        return record(args.folder, args.names, args.jobs)
    return judge(args.folder)


if __name__ == "__main__":
    sys.exit(main())
