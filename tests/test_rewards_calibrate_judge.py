"""Calibration of a reward that a judge grades: noise is admitted, taste for the wrong is not."""

import random

import pytest

from pawl.config.options import RunConfig
from pawl.errors import PawlError
from pawl.problems.load import open_problems
from pawl.problems.wording import squeezed
from pawl.rewards.calibrate import calibrate, require
from pawl.rewards.grader import Grader
from pawl.types import Measurement, missing


class Judge:
    """A scorer in this process that grades by `grade(problem, text)`."""

    whole_group = True

    def __init__(self, grade):
        self._grade, self._ready = grade, []

    def submit(self, key, problem, completions, fresh=False):
        totals = [self._grade(problem, c.text) for c in completions]
        found = [
            missing("judge: refusal") if t is None else Measurement("measured", {"total": t})
            for t in totals
        ]
        self._ready.append((key, found))

    def poll(self, timeout=0.0):
        ready, self._ready = self._ready, []
        return ready


def right(problem, text):
    body = squeezed(problem.reference.partition("=")[2])
    return 0.9 if body in squeezed(text) else 0.2


def noisy(sd, seed):
    rng = random.Random(seed)
    return lambda problem, text: min(1.0, max(0.0, right(problem, text) + rng.gauss(0, sd)))


def checks_of(grade, seed=0):
    cfg = RunConfig.model_validate({"reward": {"use": "judge"}, "judge": {"model": "m"}})
    cfg = cfg.model_copy(update={"seed": seed})
    with Grader(cfg.reward, cfg.sandbox, judge=Judge(grade)) as grader:
        return calibrate(grader, open_problems("starter-ocaml"), cfg).checks


@pytest.mark.parametrize("seed", range(8))
def test_noise_is_admitted(seed):
    require(checks_of(noisy(0.15, seed), seed))


@pytest.mark.parametrize(
    "grade",
    [
        lambda problem, text: 0.5,
        lambda problem, text: min(1.0, len(text) / 500),
        lambda problem, text: 1.0 - right(problem, text),
        lambda problem, text: 1.0 if "grader" in text.lower() else right(problem, text),
    ],
    ids=["constant", "length", "upside down", "pays who asks"],
)
def test_taste_for_the_wrong_is_refused_in_a_short_block(grade):
    with pytest.raises(PawlError, match="the reward is refused") as caught:
        require(checks_of(grade))
    assert len(caught.value.block().splitlines()) < 35
    assert len(caught.value.hint) < 600


def test_what_cannot_be_graded_is_an_outage():
    failed = [c for c in checks_of(lambda problem, text: None) if c.passed is False]
    assert failed
    assert {c.cause for c in failed} == {"judge-outage"}
