"""`pawl check CONFIG`: everything that a run does before its second step, in a throw-away folder.

Opens the session as training does (data, model, prompts, sandbox, calibration), takes one real
step, holds its invariants against their tolerances, and estimates time and memory from it. Left
out: held-out evaluation, whose time is not in the estimate.
"""

from __future__ import annotations

from dataclasses import dataclass

from pawl.config.options import RunConfig
from pawl.problems.load import open_problems, set_names
from pawl.problems.sources import Unreachable
from pawl.rewards.calibrate import Check
from pawl.store.display import Display
from pawl.store.run import RunFolder
from pawl.train.boundary import Progress
from pawl.train.loop import train_step
from pawl.train.record import Record
from pawl.train.session import open_session

DIFF_MEAN, DIFF_MAX = 1e-5, 1e-3  # trainer against sampler, fp32 (house tolerances)


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """Rows for preflight.jsonl and the figures of one step."""

    checks: list[Check]
    steps: int
    step_s: float
    peak_mb: float

    @property
    def failed(self) -> list[Check]:
        """The checks that did not hold."""
        return [c for c in self.checks if c.passed is False]


def rehearse(cfg: RunConfig, run: RunFolder, display: Display) -> Rehearsal:
    """One step of `cfg` in `run`; raises PawlError for whatever would refuse the run.

    A data set that the hub does not give now is replaced by a starter set, and a check says so.
    """
    cfg, unchecked = stand_in(cfg)
    with open_session(cfg, run, display) as s:
        display.phase("one step")
        s.engine.sync_weights(s.policy, 0)
        record = train_step(s, Progress(optim=cfg.optim, kl_coef=cfg.algo.kl_coef))
        host = record["host"]
        assert isinstance(host, dict)
        return Rehearsal(
            unchecked + invariants(record, cfg.model.dtype == "fp32"),
            s.total,
            float(host["time/step_s"]),
            float(host["memory/peak_mb"]),
        )


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
            check = Check("data set", "", given, seen, None, meaning, 0.0)
            problems = cfg.problems.model_copy(update={"train": name, "mix": ()})
            return cfg.model_copy(update={"problems": problems, "curriculum": ()}), [check]
    return cfg, []


def invariants(record: Record, fp32: bool) -> list[Check]:
    """What must hold of a first step; differences to the sampler are judged in fp32 only."""
    ratio = _number(record, "policy/ratio_max_first_pass")
    mean, peak = (_number(record, f"policy/sampler_diff_{n}") for n in ("mean", "max"))
    silent = _number(record, "group/zero_std_frac")
    return [
        Check(
            "first-pass ratio",
            "",
            "1",
            _shown(ratio),
            ratio == 1.0,
            "the trainer's own scoring pass and its first forward must agree exactly",
            0.0,
        ),
        Check(
            "log-probs against the sampler, mean",
            "",
            f"<= {DIFF_MEAN:g}",
            _shown(mean),
            (mean is not None and mean <= DIFF_MEAN) if fp32 else None,
            "trainer and sampler must mean the same policy",
            DIFF_MEAN,
        ),
        Check(
            "log-probs against the sampler, max",
            "",
            f"<= {DIFF_MAX:g}",
            _shown(peak),
            (peak is not None and peak <= DIFF_MAX) if fp32 else None,
            "trainer and sampler must mean the same policy",
            DIFF_MAX,
        ),
        Check(
            "groups with a signal",
            "",
            "some",
            "missing" if silent is None else f"{1 - silent:.0%}",
            True if silent is not None and silent < 1 else None,
            "only groups whose rewards differ teach; none in one step may be chance",
            0.0,
        ),
    ]


def _number(record: Record, name: str) -> float | None:
    value = record[name]
    return float(value) if isinstance(value, int | float) else None


def _shown(value: float | None) -> str:
    return "missing" if value is None else f"{value:.9g}"
