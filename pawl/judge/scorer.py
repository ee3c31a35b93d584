"""A judge as a scorer: groups of completions in, measurements out, without ever waiting.

    JudgeScorer(cfg, ledger_path) -> submit(key, problem, completions) ... poll() -> measurements

A thread of its own runs the event loop with all calls on the way. Equal completions of a group are
graded once. A measurement holds the criteria and their weighted mean as `total`, 0 to 1, and its
share of what the group cost; with `judge.baseline` also what the judge finds of the problem's
reference. What a judge could not grade is missing with its reason. A group that the server was away
or too busy for is put aside and asked again, as one, for `defer_s`. An outage, a budget that is
used up and a ledger that cannot be written stop the run (exit code 4). Left out: what is paid
(`pawl.rewards.pay`).
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from pawl.config.judge import JudgeConfig
from pawl.errors import Exit, PawlError
from pawl.judge import contract
from pawl.judge.access import endpoint, here
from pawl.judge.client import Client
from pawl.judge.contract import Request
from pawl.judge.ledger import Ledger
from pawl.judge.probe import probe
from pawl.judge.rubric import load_rubric
from pawl.judge.transport import Forward, LocalTransport
from pawl.judge.wire import Capabilities, Outcome, Usage
from pawl.rewards.background import Background
from pawl.rewards.pool import drained
from pawl.types import Completion, Measurement, Problem, missing

Graded = tuple[Hashable, list[Measurement]]
START_S = 600.0  # the probe's own limits end it long before
AGAIN_S, AGAIN_MAX_S = 1.0, 4.0  # waits before a group is asked again; the last one repeats


class JudgeScorer:
    """Grades completions with a judge; see the module and `pawl.types.Scorer`. Close it after use.

    ledger: the file of attempts and verdicts. run: whose attempts they are, for the budget.
    forward: the model of a local judge (`pawl.models.judge.LevelReader`). Raises PawlError at once
    for a server that may not be reached, a key that is not there, or a probe that failed.
    """

    def __init__(
        self, cfg: JudgeConfig, ledger: Path, run: str = "", forward: Forward | None = None
    ) -> None:
        assert (forward is None) == (cfg.api != "local"), "a local judge is a model handed in"
        self.cfg, self.rubric = cfg, load_rubric(cfg.rubric)
        self.whole_group = cfg.mode != "pointwise"
        local = LocalTransport(forward, cfg.context_tokens) if forward else None
        server = here(forward.fingerprint) if forward else endpoint(cfg)
        self._ledger = Ledger(ledger, run)
        self._box: queue.SimpleQueue[Graded] = queue.SimpleQueue()
        self._checks: queue.SimpleQueue[Graded] = queue.SimpleQueue()
        self._calls = Background("judge")
        self.capabilities = Capabilities()
        try:
            if local is None:
                asking = probe(cfg, server, self._ledger)
                probing = asyncio.run_coroutine_threadsafe(asking, self._calls.loop)
                self.capabilities = probing.result(START_S)
            self._judge = Client(cfg, server, self._ledger, self.capabilities, local)
        except BaseException:
            self._end()
            raise

    def describe(self) -> Mapping[str, object]:
        """Facts for the run record: who judges, by which rubric, what it can do, what it cost."""
        rubric = f"{self.rubric.name} {self.rubric.version} {self.rubric.digest}"
        facts = {"judge": self._judge.fingerprint, "rubric": rubric, "mode": self.cfg.mode}
        return {**facts, **asdict(self.capabilities), **self._ledger.summary()}

    # ---- grading ---------------------------------------------------------------------------------

    def submit(
        self,
        key: Hashable,
        problem: Problem,
        completions: Sequence[Completion],
        fresh: bool = False,
    ) -> None:
        """Queue the completions of a group, or of a part of it where `whole_group` is False."""
        self._calls.start(self._put(self._box, key, problem, tuple(completions), fresh, 0))

    def submit_check(
        self,
        key: Hashable,
        problem: Problem,
        completions: Sequence[Completion],
        fresh: bool = False,
        again: bool = False,
    ) -> None:
        """Queue a group for `poll_checks`, apart from what the run is paid by.

        again: in other orders and under other ids than `submit` asks, in one pass each list
        reversed; kept as any verdict is, so that a resume asks for it no more.
        """
        turn = self.cfg.passes if again else 0
        self._calls.start(self._put(self._checks, key, problem, tuple(completions), fresh, turn))

    async def _put(
        self,
        box: queue.SimpleQueue[Graded],
        key: Hashable,
        problem: Problem,
        completions: tuple[Completion, ...],
        fresh: bool,
        turn: int,
    ) -> None:
        box.put((key, await self._grade(problem, completions, fresh, turn)))

    async def _grade(
        self, problem: Problem, completions: tuple[Completion, ...], fresh: bool, turn: int
    ) -> list[Measurement]:
        """The measurements of a group, from the calls of turn `turn` and those after it."""
        texts = [contract.candidate_text(c) for c in completions]
        unique = list(dict.fromkeys(texts))
        if self.cfg.mode == "pairwise" and len(unique) < 2:
            return [missing("pairwise needs two different completions")] * len(texts)
        began = self._calls.loop.time()
        asking = [self._ask(problem, unique, fresh, turn)]
        if self.cfg.baseline and problem.reference.strip():  # kept, so paid for once a problem
            reference = contract.candidate_text(Completion(problem.id, problem.reference))
            asking.append(self._ask(problem, [reference], False, 0))
        (found, outcomes, deferred), *more = await asyncio.gather(*asking)
        spent = [*outcomes, *(o for _, own, _ in more for o in own)]
        deferred = deferred or any(late for _, _, late in more)
        waits = {"deferred": float(deferred), "outage_s": self._judge.silence(began)}
        usage = _share(spent, len(texts)) | waits
        none = missing("the problem has none") if self.cfg.baseline else None
        baseline = next((measurements[0] for measurements, _, _ in more), none)
        without = baseline.usage if baseline is not None else {}  # why the reference has no grade
        by_text = {
            text: replace(m, usage={**usage, **m.usage, **without}, baseline=baseline)
            for text, m in zip(unique, found, strict=True)
        }
        return [by_text[text] for text in texts]

    async def _ask(
        self, problem: Problem, texts: list[str], fresh: bool, turn: int
    ) -> tuple[list[Measurement], list[Outcome], bool]:
        """What the judge says of some texts, each once; all answers; whether some came late.

        The usage of a measurement that is missing says why, nothing of what it cost.
        """
        task, lang, mode = contract.task_text(problem), problem.lang, self.cfg.mode
        turns = range(turn, turn + self.cfg.passes)
        lists = (contract.requests(self.rubric, mode, lang, task, texts, t) for t in turns)
        asked = [request for requests in lists for request in requests]
        outcomes, deferred = await self._answers(asked, fresh)
        answers = [(r, o.levels) for r, o in zip(asked, outcomes, strict=True)]
        cached = all(o.cached for o in outcomes)
        worst = next((o for o in outcomes if o.kind != "ok"), Outcome("refusal"))
        why = f"judge: {worst.kind} {worst.detail}".rstrip()
        lost = replace(missing(why), usage={f"lost_{_class(worst)}": 1.0})
        found = [
            lost
            if levels is None
            else Measurement(
                "measured",
                self.rubric.with_total({n: contract.value(d) for n, d in levels.items()}),
                cached=cached,
                levels=levels,
                place=place,
            )
            for levels, place in zip(
                contract.member_levels(answers, len(texts)),
                contract.places(answers, len(texts)),
                strict=True,
            )
        ]
        return found, outcomes, deferred

    async def _answers(self, asked: Sequence[Request], fresh: bool) -> tuple[list[Outcome], bool]:
        """What all requests came to, and whether some were asked again.

        Those that the server was away or too busy for are, with waits, for `defer_s`.
        """
        outcomes = list(await asyncio.gather(*(self._judge.ask(r, fresh) for r in asked)))
        end, wait = self._calls.loop.time() + self.cfg.defer_s, AGAIN_S
        deferred = False
        while True:
            self._calls.broken = self._calls.broken or self._judge.stopped() or _spent(outcomes)
            again = [i for i, o in enumerate(outcomes) if o.passing]
            if not again or self._calls.broken or self._calls.loop.time() + wait > end:
                return outcomes, deferred
            await asyncio.sleep(wait)
            wait, deferred = min(2 * wait, AGAIN_MAX_S), True
            came = await asyncio.gather(*(self._judge.ask(asked[i], fresh) for i in again))
            for i, o in zip(again, came, strict=True):
                outcomes[i] = o.after(outcomes[i])

    def poll(self, timeout: float | None = 0.0) -> list[Graded]:
        """What is ready. Raises PawlError for an outage, a budget that is used up, or a ledger that
        cannot be written.
        """
        return self._ready(self._box, timeout)

    def poll_checks(self, timeout: float | None = 0.0) -> list[Graded]:
        """The same of what `submit_check` queued."""
        return self._ready(self._checks, timeout)

    def _ready(self, box: queue.SimpleQueue[Graded], timeout: float | None) -> list[Graded]:
        ready = drained(box, timeout, self._raise_broken)
        self._raise_broken()  # what the end of the run left ungraded is not for anybody
        return ready

    def _raise_broken(self) -> None:
        error = self._calls.broken
        if error is None:
            assert self._calls.closing or self._calls.alive, "the judge's loop ended"
            return
        if isinstance(error, PawlError):
            raise error
        raise RuntimeError("the judge broke") from error

    def close(self) -> None:
        """Drop what is on the way, close connections and ledger, end the thread."""
        if not self._calls.closing:
            self._calls.closing = True
            asyncio.run_coroutine_threadsafe(self._drop(), self._calls.loop).result(30.0)
            self._end()

    async def _drop(self) -> None:
        for task in self._calls.tasks:
            task.cancel()
        await asyncio.gather(*self._calls.tasks, return_exceptions=True)
        await self._judge.close()

    def _end(self) -> None:
        self._calls.close()
        self._ledger.close()

    def __enter__(self) -> JudgeScorer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _spent(outcomes: Sequence[Outcome]) -> PawlError | None:
    """Why the run should stop: a budget that is used up, None where none is."""
    detail = next((o.detail for o in outcomes if o.kind == "budget"), None)
    hint = "raise it in a fork (pawl train --from RUN judge.max_usd=...), or pay the provider and "
    hint += "resume: verdicts so far are kept"
    what = f"the judge's budget is used up: {detail}"
    return PawlError(what, "judge.max_usd", hint, Exit.STOPPED) if detail is not None else None


def _class(o: Outcome) -> str:
    """Of a failure: unavailable, rejected (the request), refusal, truncated or malformed."""
    if o.passing:
        return "unavailable"
    return "rejected" if o.kind.startswith("http") else o.kind


def _share(outcomes: Sequence[Outcome], n: int) -> dict[str, float]:
    """An equal share of what the calls of a group cost: the shares of its members sum to it."""
    total = sum((o.usage for o in outcomes), Usage())
    sums: dict[str, float] = {k: v for k, v in asdict(total).items() if k != "billed"}
    sums |= {"requests": sum(o.attempts for o in outcomes), "usd": sum(o.usd for o in outcomes)}
    return {name: value / n for name, value in sums.items()} | {
        "simulated": float(any(o.simulated for o in outcomes))
    }
