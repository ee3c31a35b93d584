"""`pawl check CONFIG`: everything that a run does before its second step, in a throw-away folder.

Opens the session as training does (data, model, prompts, sandbox, calibration), runs the preflight,
takes one real step, and estimates time, memory and disk from it. Left out: held-out evaluation,
whose time is estimated from that step's.
"""

from __future__ import annotations

from dataclasses import dataclass

from pawl.checks import Check
from pawl.config.options import RunConfig
from pawl.errors import PawlError
from pawl.preflight.prove import prove
from pawl.problems.load import open_problems, set_names
from pawl.problems.sources import Unreachable
from pawl.store.display import Display
from pawl.store.run import RunFolder
from pawl.train.loop import train_step
from pawl.train.plan import Estimate, Plan, estimate, plan
from pawl.train.progress import Progress
from pawl.train.session import open_session


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What was found before the second step. refusal: why the run would not start; estimate: None
    when there was no step to measure.
    """

    unchecked: list[Check]
    plan: Plan
    advice: list[str]
    estimate: Estimate | None
    refusal: PawlError | None


def rehearse(
    cfg: RunConfig, run: RunFolder, display: Display, price: float | None = None
) -> Rehearsal:
    """One step of `cfg` in `run`; raises PawlError for what refuses it before the preflight.

    A data set that the hub does not give now is replaced by a starter set, and a check says so.
    price: of one hour of this machine, in any currency.
    """
    cfg, unchecked = stand_in(cfg)
    with open_session(cfg, run, display) as s:
        progress = Progress(optim=cfg.optim, kl_coef=cfg.algo.kl_coef)
        made = plan(s)
        try:
            advice = prove(s, progress).advice
        except PawlError as e:
            return Rehearsal(unchecked, made, [], None, e)
        display.phase("one step")
        record = train_step(s, progress)
        rows = sum(f.stat().st_size for f in (run.path / "samples").glob("step-*.jsonl"))
        return Rehearsal(unchecked, made, advice, estimate(made, record, rows, price), None)


def stand_in(cfg: RunConfig) -> tuple[RunConfig, list[Check]]:
    """The config with a starter set in place of an unreachable one, and a check that says so.

    It stands in for a whole mix, and without the curriculum: it has no measured pass rates.
    """
    for given in set_names(cfg.problems):
        try:
            open_problems(given, cfg.problems.lang)
        except Unreachable:
            name = f"starter-{cfg.problems.lang or 'ocaml'}"
            seen = f"unreachable; {name} stood in"
            meaning = "problems, prompt lengths and the number of steps were those of the stand-in"
            check = Check("data set", "", given, seen, None, meaning)
            problems = cfg.problems.model_copy(update={"train": name, "mix": ()})
            return cfg.model_copy(update={"problems": problems, "curriculum": ()}), [check]
    return cfg, []
