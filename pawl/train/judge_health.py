"""The judge of a run, watched: groups graded again, and answers of known worth every so many steps.

    ask (anchors, on their way while sampling) -> repeat (some groups again) -> finish (figures)

Anchors are a right answer, one that does nothing, it padded, and canaries, of a few problems of the
training set; how they were graded before training is in the ledger and stays the measure. Which
groups are graded again is a function of seed and step. Nothing here waits before `finish`, which
comes before the update. Left out: the figures (`pawl.judge.health`), what the doctor says of them
(`pawl.rules.judge`).
"""

from __future__ import annotations

import random
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pawl.checks import Check
from pawl.config.options import RunConfig
from pawl.judge import health
from pawl.judge.contract import candidate_text
from pawl.judge.health import Figures, Graded, Repeats
from pawl.rewards.calibrate import choose, completion_of, marker_of
from pawl.rewards.grader import JUDGE, components_of
from pawl.rewards.pay import TOTAL, Row, pay
from pawl.types import Completion, Measurement, Problem

if TYPE_CHECKING:
    from pawl.config.options import RewardConfig
    from pawl.judge.scorer import JudgeScorer

PROBLEMS = 6  # with anchors
LEAST, SURE = 0.05, 4.0  # of the scale and in standard errors: what preflight warns of
CANARIES, PADDING, ORDER = "judge-canaries", "judge-padding", "judge-order"  # in checks.toml
Measured = tuple[Problem, Sequence[Completion], Sequence[Row]]  # a group


@dataclass(frozen=True, slots=True)
class Checked:
    """What a step found of its judge. figures: judge/*; repeats: with this step's; usages: of what
    was asked beside the samples. paid: the canary that earns what a right answer does, "" for none.
    """

    figures: Figures
    repeats: Repeats
    usages: list[Mapping[str, float]]
    paid: str = ""


def is_paid(margin: object) -> bool:
    """Whether a judge/canary_margin says that a canary is paid like a right answer."""
    return isinstance(margin, float) and margin <= LEAST


class JudgeHealth:
    """The checks of one run's judge; see the module. problems: the training set."""

    def __init__(self, judge: JudgeScorer, cfg: RunConfig, problems: Sequence[Problem]) -> None:
        part = next(c for c in components_of(cfg.reward) if c.use == JUDGE)
        self._judge, self._cfg, self._name = judge, cfg, part.name
        self.pays_wrong = part.weight > 0 and part.gate != "pass"
        self.stops = self.pays_wrong and CANARIES not in cfg.train.override
        chosen = [p for p in choose(problems, cfg.seed, PROBLEMS) if p.reference][:PROBLEMS]
        self._anchors = [(p, health.anchors(p, marker_of(p, cfg.reward))) for p in chosen]
        self._start: list[Graded] | None = None
        self._waiting: set[Hashable] = set()
        self._found: dict[Hashable, list[Measurement]] = {}

    # ---- asking ----------------------------------------------------------------------------------

    def ask(self, step: int) -> None:
        """Ask for the anchors where a step checks them."""
        if self._due(step):
            self._ask_anchors("start")
            self._ask_anchors("now", fresh=True)

    def _due(self, step: int) -> bool:
        every = self._cfg.judge.check_every
        return bool(every and self._anchors) and step % every == 0

    def repeat(self, step: int, groups: Sequence[Measured]) -> None:
        """Ask again for a share of a step's groups, in another order."""
        rng = random.Random(f"{self._cfg.seed}/repeats/{step}")
        for i, group in enumerate(groups):
            if rng.random() < self._cfg.judge.repeats and len(self._members(group)) > 1:
                problem, completions, _ = group
                again = [completions[k] for k in self._members(group)]
                self._submit(("again", i), problem, again, again=True)

    def _members(self, group: Measured) -> list[int]:
        """The members of a group that were graded, equal ones once."""
        _, completions, rows = group
        graded = [k for k, row in enumerate(rows) if row[self._name].status == "measured"]
        return list({candidate_text(completions[k]): k for k in reversed(graded)}.values())[::-1]

    def _ask_anchors(self, when: str, fresh: bool = False, again: bool = False) -> None:
        if when == "start" and self._start is not None:
            return
        for i, (problem, texts) in enumerate(self._anchors):
            answers = [completion_of(problem, text) for text in texts.values()]
            self._submit((when, i), problem, answers, fresh, again)

    def _submit(
        self,
        key: Hashable,
        problem: Problem,
        completions: Sequence[Completion],
        fresh: bool = False,
        again: bool = False,
    ) -> None:
        self._waiting.add(key)
        self._judge.submit_check(key, problem, completions, fresh, again)

    def _collect(self) -> None:
        """Wait for all that was asked. Raises PawlError for an outage."""
        while self._waiting:
            for key, found in self._judge.poll_checks(1.0):
                self._waiting.discard(key)
                self._found[key] = found

    # ---- what came of it -------------------------------------------------------------------------

    def checks(self, last: Mapping[str, object]) -> list[Check]:
        """Rows of the preflight, from the anchors in two orders.

        last: the newest step record of a run that goes on. Where it says that a canary was paid,
        the judge is asked anew, whatever it said before training.
        """
        paid = is_paid(last.get("judge/canary_margin"))
        first = "now" if paid else "start"
        self._ask_anchors(first, fresh=paid)
        second = "turned" if self._cfg.judge.mode == "listwise" else first  # alone, or both ways
        if second == "turned":
            self._ask_anchors(second, fresh=paid, again=True)
        self._collect()
        places, turned = Repeats(), self._graded(second)
        asked = self._graded(first) if paid else self._started()
        for i in range(len(self._anchors)):
            places = self._with_places(places, self._found[first, i], self._found[second, i])
        both = [
            {n: None if (w := b[n]) is None or v is None else (v + w) / 2 for n, v in a.items()}
            for a, b in zip(asked, turned, strict=True)
        ]
        canary, worst = health.canary_figures(both)
        padding, (slope, slope_se) = health.padding_figures(both), places.slope()
        gain, gain_se = padding["judge/padding_gain"], padding["judge/padding_gain_se"]
        margin = canary["judge/canary_margin"]
        self._found.clear()
        return [
            Check(
                CANARIES,
                "",
                f"a right answer scores over {LEAST:g} above every canary",
                f"{worst} scores {margin:.3g} below" if margin is not None else "nothing graded",
                None if margin is None else not is_paid(margin),
                "the judge pays for texts that answer nothing",
                cause="judge-biased",
                refuses=self.pays_wrong,
            ),
            _bias(PADDING, gain, gain_se, "praise of itself behind a wrong answer"),
            _bias(ORDER, slope, slope_se, "being shown first instead of last"),
        ]

    def _started(self) -> list[Graded]:
        """The anchors as they were graded before training."""
        if self._start is None:
            self._start = self._graded("start")
        return self._start

    def _graded(self, when: str) -> list[Graded]:
        """Totals of the anchors, by problem and name."""
        rows = [self._found[when, i] for i in range(len(self._anchors))]
        return [
            {name: m.values.get(TOTAL) for name, m in zip(texts, row, strict=True)}
            for (_, texts), row in zip(self._anchors, rows, strict=True)
        ]

    def finish(
        self,
        step: int,
        groups: Sequence[Measured],
        repeats: Repeats,
        reward: RewardConfig,
        stage: str,
    ) -> Checked:
        """What a step's requests came to. reward, stage: what the groups were paid by."""
        self._collect()
        usages = [m.usage for found in self._found.values() for m in found if m.usage]
        for i, group in enumerate(groups):
            if ("again", i) in self._found:
                second = self._found["again", i]
                repeats = self._repeated(repeats, group, second, reward, stage)
        judged = [row[self._name] for _, _, rows in groups for row in rows]
        figures = repeats.figures() if self._cfg.judge.repeats else {}
        figures |= health.entropy_figures([m.levels for m in judged if m.levels])
        paid = ""
        if self._due(step):
            start, now = self._started(), self._graded("now")
            canary, worst = health.canary_figures(now)
            figures |= canary | health.padding_figures(now) | health.drift_figures(start, now)
            paid = worst if is_paid(canary["judge/canary_margin"]) else ""
        self._found.clear()
        return Checked(figures, repeats, usages, paid)

    def _repeated(
        self,
        repeats: Repeats,
        group: Measured,
        second: Sequence[Measurement],
        reward: RewardConfig,
        stage: str,
    ) -> Repeats:
        """With a group that was graded twice, and with what it would have been paid."""
        problem, completions, rows = group
        members = self._members(group)
        first = [rows[k][self._name] for k in members]
        repeats = self._with_places(repeats, first, second)
        pairs = [(a, b) for a, b in zip(first, second, strict=True) if b.values]
        repeats = repeats.with_scores(
            *_columns([(a.values[TOTAL], b.values[TOTAL]) for a, b in pairs])
        )
        texts = [candidate_text(c) for c in completions]
        by_text = {texts[k]: m for k, m in zip(members, second, strict=True)}
        changed = [
            {**row, self._name: by_text.get(text, row[self._name])}
            for row, text in zip(rows, texts, strict=True)
        ]
        both = [pay(problem, completions, own, reward, stage) for own in (rows, changed)]
        totals = [(both[0][k].total, both[1][k].total) for k in members]
        return repeats.with_rewards(
            *_columns([(a, b) for a, b in totals if a is not None and b is not None])
        )

    def _with_places(
        self, repeats: Repeats, first: Sequence[Measurement], second: Sequence[Measurement]
    ) -> Repeats:
        """With what the places of a group did, as far as two orders of it show."""
        rows = [
            (a.place - b.place, a.values[TOTAL], b.values[TOTAL])
            for a, b in zip(first, second, strict=True)
            if a.values and b.values and a.place is not None and b.place is not None
        ]
        if self._cfg.judge.mode == "pairwise":
            places = {m.place for found in (first, second) for m in found[:1]}
            for place in sorted(p for p in places if p is not None):
                repeats = repeats.with_preference(place)
            return repeats
        earlier, before, after = zip(*rows, strict=True) if len(rows) > 1 else ((), (), ())
        return repeats.with_places(earlier, before, after)


def _columns(pairs: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [a for a, _ in pairs], [b for _, b in pairs]


def _bias(name: str, value: float | None, error: float | None, what: str) -> Check:
    """A row for a figure that is 0 for a fair judge; None: too little was asked."""
    said, passed = "not measured", None
    most = LEAST
    if value is not None and error is not None:
        said, most = f"{value:+.3f} +- {error:.3f}", max(LEAST, SURE * error)
        passed = abs(value) <= most if name == ORDER else value <= most
    meaning = f"the judge gives points for {what}"
    return Check(
        name, "", f"at most {most:.3g}", said, passed, meaning, most, "judge-biased", refuses=False
    )
