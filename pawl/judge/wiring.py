"""Proves the wiring of a judge before it is asked anything: what it reads, whose verdict is whose.

A simulated teacher on loopback takes the judge's place: it says of each text what is known
beforehand. The run's own rubric, mode and passes, its client, ledger and grader stand between the
two, so that a fault in any of them shows, whatever the real judge is like, and costs no money. A
local judge's model is replaced by the same teacher without HTTP. Left out: whether the judge is any
good (`pawl.rewards.calibrate`, `health.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

from pawl.checks import Check
from pawl.config.judge import JudgeConfig
from pawl.config.options import ComponentConfig, RewardConfig, SandboxConfig
from pawl.errors import PawlError
from pawl.judge import fake_judge
from pawl.judge.budget import Price
from pawl.judge.contract import PREFERENCE, Distribution
from pawl.judge.fake_judge import Character, grade
from pawl.judge.fake_server import FakeTeacher, Options, tokens_of
from pawl.judge.rubric import Rubric, load_rubric
from pawl.judge.scorer import JudgeScorer
from pawl.rewards.grader import JUDGE, Grader, components_of
from pawl.rewards.pay import TOTAL, is_bonus, pay, worth_of_a_test
from pawl.types import Completion, Measurement, Problem

PRICES = (2.0, 10.0, 0.1, 2.5)
NEAR = 0.03  # by which a distribution read from log-probs may differ
APART = 0.1  # by which totals must differ to have an order
SEEDS = 50  # of the teacher's taste, of which the one that tells most criteria apart is taken
SECRET, REFERENCE = "heron, never shown", "kestrel, the right answer"
TASKS = (
    "Write the first thing.\n\nIt has a second paragraph, which says what the first leaves open: "
    "of an empty list the answer is 0, and the order of equal elements stays as it was.",
    "Write another thing, as short as this.",
)
WORTH = {"alpha": 1.0, "bravo": 0.0, "charlie": 0.7, "delta": 0.35}  # by first word
# Blank lines and fences inside, two different texts of one length, and one text twice.
TEXTS = (
    "alpha begins\n\nand ends after ````` a fence",
    "bravo is of this size..",
    "charlie is of this size",
    "bravo is of this size..",
    "delta",
)
_BLOCK = re.compile(r"^Candidate \w+:\n\n(`+)\n(.*?)\n\1$", re.DOTALL | re.MULTILINE)


def worth(_task: str, candidates: Sequence[str]) -> list[float]:
    """Quality by the first word; a half for what is not ours."""
    return [WORTH.get((text.split() or [""])[0], 0.5) for text in candidates]


@dataclass(slots=True)
class _Local:
    """The teacher in place of a local judge's model."""

    who: Character
    requests: list[tuple[str, str]]
    failing: bool = False
    fingerprint: str = "simulated"

    def levels(
        self, system: str, prompt: str, questions: Sequence[tuple[str, int]], context: int
    ) -> tuple[list[Distribution], int]:
        """As `pawl.judge.transport.Forward`."""
        if self.failing:
            self.failing = False
            raise ValueError("too long, as scripted")
        self.requests.append((system, prompt))
        found = grade(system, prompt, worth, self.who)
        assert len(questions) == len(found.levels), "a question for each subject and criterion"
        return list(found.levels.values()), tokens_of(prompt)


class _Stand:
    """A judge that is wired as the run's, in front of the simulated teacher; close it after use."""

    def __init__(self, cfg: JudgeConfig, folder: Path) -> None:
        self.rubric = load_rubric(cfg.rubric)
        self.who = Character(systematic=0.3, seed=_seed(self.rubric))
        self.requests: list[tuple[str, str]] = []
        self._closing = ExitStack()
        self.local = _Local(self.who, self.requests) if cfg.api == "local" else None
        self.teacher: FakeTeacher | None = None
        own: dict[str, object] = {"key_env": "", "max_usd": 0.0, "max_tokens": 0, "defer_s": 0.0}
        own |= {"prices": PRICES, "attempt_s": 30.0, "deadline_s": 90.0, "baseline": False}
        own |= {"context_tokens": min(cfg.context_tokens, 2048)}
        if self.local is None:
            options = Options(price=Price(*PRICES), character=self.who)
            watching = FakeTeacher(worth, options, self._watch)
            self.teacher = self._closing.enter_context(watching)
            url = self.teacher.url
            own["base_url"] = url.removesuffix("/v1") if cfg.api == "messages" else url
        self.cfg = cfg.model_copy(update=own)
        try:
            opened = JudgeScorer(self.cfg, folder / "ledger.sqlite", "wiring", self.local)
            self.scorer = self._closing.enter_context(opened)
            reward = RewardConfig(use=JUDGE)
            self.grader = self._closing.enter_context(
                Grader(reward, SandboxConfig(), judge=self.scorer)
            )
        except BaseException:
            self._closing.close()
            raise

    def _watch(self, system: str, prompt: str) -> None:
        self.requests.append((system, prompt))

    def measured(self, task: int, texts: Sequence[str], lang: str = "") -> list[Measurement]:
        """What the run's grader finds of some texts."""
        problem = Problem(
            f"wiring-{task}", TASKS[task], reference=REFERENCE, metadata={"lang": lang}
        )
        completions = [Completion(problem.id, f"<think>{SECRET}</think>\n{text}") for text in texts]
        return [row[TOTAL] for row in self.grader.measure([(problem, completions)])[0]]

    def fail_next(self) -> None:
        """The next request is not answered, for good."""
        if self.local is not None:
            self.local.failing = True
        elif self.teacher is not None:
            self.teacher.fail("refusal")

    def close(self) -> None:
        """End grader, judge and teacher."""
        self._closing.close()


def _seed(rubric: Rubric) -> int:
    """A taste under which as many criteria as possible are answered differently."""

    def distinct(seed: int) -> int:
        who, texts = Character(systematic=0.3, seed=seed), sorted(set(TEXTS))
        answers = [
            [_mode(_said(t, c.name, len(c.levels), who)) for t in texts] for c in rubric.criteria
        ]
        return sum(a != b for a, b in combinations(answers, 2))

    return max(range(SEEDS), key=distinct)


def _said(text: str, criterion: str, n: int, who: Character) -> Distribution:
    return fake_judge.expected(text, worth("", [text])[0], criterion, n, who)


def _mean(p: Distribution) -> float:
    """As `contract.value`, which is on trial here."""
    return sum(i * x for i, x in enumerate(p)) / (len(p) - 1)


def _mode(p: Distribution) -> int:
    return max(range(len(p)), key=p.__getitem__)


def prove_wiring(
    cfg: JudgeConfig, reward: RewardConfig, problem: Problem | None, names: tuple[str, str]
) -> list[Check]:
    """A row for each of the checks of the judge's wiring, in a fixed order.

    problem: one with tests, for what a judge's bonus may earn, None without. names: by which the
    run's attempts are counted, looked up twice.
    """
    with TemporaryDirectory() as folder:
        try:
            stand = _Stand(cfg, Path(folder))
        except PawlError as e:  # it could not read what it was sent
            return [_reads([f"{e.what}; {e.hint}"])]
        try:
            return list(_rows(stand, reward, problem, names))
        finally:
            stand.close()


def _rows(
    stand: _Stand, reward: RewardConfig, problem: Problem | None, names: tuple[str, str]
) -> Iterator[Check]:
    langs = sorted({lang for c in stand.rubric.criteria for lang in c.languages}) or [""]
    began = len(stand.requests)
    found = stand.measured(0, TEXTS, langs[0])
    sent = stand.requests[began:]
    stand.measured(1, [f"{text} too" for text in TEXTS[:3]], langs[-1])
    more = stand.requests[began + len(sent) :]
    faults = [*_misread(stand, sent, TASKS[0], TEXTS, langs[0])]
    faults += _misread(stand, more, TASKS[1], [f"{text} too" for text in TEXTS[:3]], langs[-1])
    yield _reads(faults)
    yield _fresh(stand)
    yield from _placed(stand, found)
    yield _lost(stand)
    yield _costs(stand, names)
    if problem is not None:
        yield from (
            _bonus(part, reward, problem)
            for part in components_of(reward)
            if part.use == JUDGE and is_bonus(part, reward.components)
        )


# ---- what it reads -------------------------------------------------------------------------------


def _reads(faults: Sequence[str]) -> Check:
    return Check(
        "judge-reads",
        "",
        "the whole task, whole answers in closed fences, the rubric's own words; nothing else",
        faults[0] if faults else "all of it",
        not faults,
        "a judge can only grade what it is shown",
        cause="judge-prompt",
    )


def _misread(
    stand: _Stand, sent: Sequence[tuple[str, str]], task: str, texts: Sequence[str], lang: str
) -> Iterator[str]:
    """What is wrong with requests about some texts."""
    pairs = stand.cfg.mode == "pairwise"
    for system, prompt in sent:
        for c in stand.rubric.criteria:
            levels = PREFERENCE if pairs else c.levels
            shown = "\n".join(f"  {i} = {level}" for i, level in enumerate(levels))
            if f"{c.asked(lang)}\n{shown}" not in system:
                yield f"criterion {c.name}, language {lang!r}, is not what the rubric says"
        if f"\n{task}\n" not in prompt:
            yield "the task is not there whole"
        blocks = _BLOCK.findall(prompt)
        if len(blocks) < prompt.count("Candidate "):
            yield "a candidate's fence does not close"
        for fence, text in blocks:
            if text not in texts:
                yield f"a candidate is shown as {text[:60]!r}"
            elif fence in text:
                yield "a candidate can close its own fence"
        for secret, what in ((SECRET, "the thinking"), (REFERENCE, "the reference")):
            if secret in system + prompt:
                yield f"{what} is shown"


# ---- whose verdict is whose ----------------------------------------------------------------------


def _fresh(stand: _Stand) -> Check:
    """A kept verdict is used for exactly what it was given for."""
    a, b, c = (f"{text} once" for text in TEXTS[:3])
    rubric = stand.scorer.rubric
    other = rubric.model_copy(update={"version": f"{rubric.version}, another"})
    faults = []
    for what, task, texts, rules in (
        ("a first group", 0, (a, b), rubric),
        ("another candidate", 0, (a, c), rubric),
        ("another task", 1, (a, b), rubric),
        ("another rubric", 0, (a, b), other),
    ):
        before, stand.scorer.rubric = len(stand.requests), rules
        stand.measured(task, texts)
        if len(stand.requests) == before:
            faults.append(f"{what} got a verdict that was there")
    before, stand.scorer.rubric = len(stand.requests), rubric
    stand.measured(0, (a, b))
    if len(stand.requests) > before:
        faults.append("the same was asked again")
    return Check(
        "judge-verdicts-fresh",
        "",
        "another candidate, task or rubric is asked for; the same is not asked again",
        "; ".join(faults) or "so it is",
        not faults,
        "a verdict kept for something else is no verdict",
        cause="stale-verdict",
    )


def _placed(stand: _Stand, found: Sequence[Measurement]) -> Iterator[Check]:
    """Verdicts stand at their own completions, on the rubric's scale."""
    rubric, means = stand.rubric, dict[str, dict[str, tuple[float, float]]]()
    for text in set(TEXTS):
        says = {c.name: _said(text, c.name, len(c.levels), stand.who) for c in rubric.criteria}
        means[text] = {n: (_mean(p), _mode(p) / (len(p) - 1)) for n, p in says.items()}
    own = [_is(stand, m, means[text]) for text, m in zip(TEXTS, found, strict=True)]
    others = [
        any(_is(stand, m, means[other]) for other in means if other != text)
        for text, m in zip(TEXTS, found, strict=True)
    ]
    ordered = _in_order(stand, found, means)
    swapped = [
        text.split()[0] for text, a, b in zip(TEXTS, own, others, strict=True) if b and not a
    ]
    lost = [m.reason for m in found if m.status == "missing"]
    pairs = stand.cfg.mode == "pairwise"  # where a value depends on all the others
    yield Check(
        "judge-in-place",
        "",
        "each completion has the verdict on its own text",
        f"missing: {lost[0]}"
        if lost
        else f"{', '.join(swapped)}: of others"
        if swapped
        else "so it is",
        not lost and not swapped and (ordered or not pairs),
        "a verdict on another text teaches what that text deserves",
        cause="group-integrity",
    )
    right = all(own) or swapped or (pairs and ordered)
    totals = [m.values.get("total") for m in found]
    weighted = all(
        m.status == "missing" or abs(_total(rubric, m) - m.values["total"]) < 1e-6 for m in found
    )
    yield Check(
        "judge-scale",
        "",
        "the worst level is 0, the best 1, each criterion its own, the total their weighted mean",
        "so it is" if right and weighted else f"totals {totals}" if weighted else "another total",
        bool(right and weighted),
        "a scale that is turned, swapped or unweighted pays for something else",
        cause="reward-bug",
    )


def _total(rubric: Rubric, m: Measurement) -> float:
    weights = sum(c.weight for c in rubric.criteria)
    return sum(c.weight * m.values[c.name] for c in rubric.criteria) / weights


def _is(stand: _Stand, m: Measurement, means: dict[str, tuple[float, float]]) -> bool:
    """Whether a measurement is what the teacher says, as a distribution or as its best level."""
    if m.status == "missing" or stand.cfg.mode == "pairwise":
        return False
    return all(min(abs(m.values[n] - x) for x in two) <= NEAR for n, two in means.items())


def _in_order(
    stand: _Stand, found: Sequence[Measurement], means: dict[str, dict[str, tuple[float, float]]]
) -> bool:
    """Whether totals stand in the order of what the teacher says, where that is clear."""
    if any(m.status == "missing" for m in found):
        return False
    weights = {c.name: c.weight for c in stand.rubric.criteria}
    said = [sum(weights[n] * x for n, (x, _) in means[t].items()) for t in TEXTS]
    scale = sum(weights.values())
    return all(
        (a - b) * (x.values["total"] - y.values["total"]) > 0
        for (a, x), (b, y) in combinations(zip(said, found, strict=True), 2)
        if abs(a - b) / scale > APART
    )


# ---- what is lost, and what it costs -------------------------------------------------------------


def _lost(stand: _Stand) -> Check:
    """A judgement that fails is missing."""
    stand.fail_next()
    found = stand.measured(0, [f"{text} now" for text in TEXTS])
    lost = [m for m in found if m.status == "missing"]
    seen = f"{len(lost)} of {len(found)} missing"
    seen += f": {lost[0].reason}" if lost else ""
    passed = bool(lost) and not any(m.values for m in lost)
    meaning = "a number in place of a failure teaches when the judge fails"
    how = ("a request that fails leaves its completions missing", seen, passed, meaning)
    return Check("judge-lost-is-missing", "", *how, cause="error-as-reward")


def _costs(stand: _Stand, names: tuple[str, str]) -> Check:
    """What was billed is what is counted."""
    counted = stand.scorer.describe()
    faults = [] if names[0] == names[1] else ["a run is counted under a new name at each start"]
    if stand.teacher is not None:
        billed = [bill for bill in stand.teacher.bills if bill.billed]
        tokens, usd = sum(b.usage.total for b in billed), sum(b.usd for b in billed)
        if counted["tokens"] != tokens or abs(float(str(counted["usd"])) - usd) > 1e-9:
            faults.append(f"billed {tokens} tokens, counted {counted['tokens']}")
    m = stand.measured(0, [f"{text} at last" for text in TEXTS[:2]])
    asked = sum(x.usage.get("requests", 0.0) for x in m)
    spent = sum(x.usage.get("uncached", 0.0) + x.usage.get("cache_write", 0.0) for x in m)
    if asked < 1 or spent < 1:
        faults.append("a measurement does not say what it cost")
    return Check(
        "judge-costs",
        "",
        "attempts, tokens and money are counted as billed, under the run's name",
        "; ".join(faults) or "so it is",
        not faults,
        "a budget that does not see what is spent holds nothing",
        cause="uncounted-cost",
    )


def _bonus(part: ComponentConfig, reward: RewardConfig, problem: Problem) -> Check:
    """A bonus pays where all tests pass, and less than a test is worth."""

    def paid(tests: float, graded: float) -> float:
        passing = tests == 1.0
        code = {"types": 1.0, "compile": 1.0, "tests": tests}
        tested = Measurement("measured", code, "pass" if passing else "wrong")
        half = Measurement("measured", {TOTAL: 0.5})
        row = {c.name: Measurement("measured", {TOTAL: 0.0}) for c in reward.components}
        row |= {c.name: tested for c in reward.components if c.use == "code"}
        row[part.name] = replace(half, values={TOTAL: graded}, baseline=half)
        score = pay(problem, [Completion(problem.id, "x")], [row], reward)[0]
        assert score.total is not None, "everything was measured"
        return score.total

    gained, ungated = paid(1.0, 1.0) - paid(1.0, 0.0), paid(0.5, 1.0) - paid(0.5, 0.0)
    code = sum(c.weight for c in reward.components if c.use == "code")
    most = worth_of_a_test(problem, reward) * code
    return Check(
        "judge-bonus",
        problem.id,
        f"{part.name} adds nothing below a pass, and less than {most:.4g} there",
        f"{ungated:.4g} below, {gained:.4g} there",
        abs(ungated) < 1e-9 and gained < most,
        "taste must not outweigh a test",
        cause="reward-bug",
    )
