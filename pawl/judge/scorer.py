"""A judge as a scorer: groups of completions in, measurements out, without ever waiting.

    JudgeScorer(cfg, ledger_path) -> submit(key, problem, completions) ... poll() -> measurements

A thread of its own runs the event loop with all calls on the way. Equal completions of a group are
graded once. A measurement holds the criteria and their weighted mean as `total`, 0 to 1, and its
share of what the group cost; what a judge could not grade is missing with its reason. An outage and
a ledger that cannot be written stop the run (exit code 4). Left out: what is paid
(`pawl.rewards.pay`).
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from pawl.config.judge import JudgeConfig
from pawl.errors import PawlError
from pawl.judge import contract
from pawl.judge.access import endpoint, here
from pawl.judge.client import Client
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
            why = "pairwise needs two different completions"
            return [missing(why)] * len(texts)
        task = contract.task_text(problem)
        lang, mode = problem.lang, self.cfg.mode
        turns = range(turn, turn + self.cfg.passes)
        lists = (contract.requests(self.rubric, mode, lang, task, unique, t) for t in turns)
        asked = [request for requests in lists for request in requests]
        outcomes = await asyncio.gather(*(self._judge.ask(r, fresh) for r in asked))
        self._calls.broken = self._calls.broken or self._judge.stopped()
        answers = [(r, o.levels) for r, o in zip(asked, outcomes, strict=True)]
        found = contract.member_levels(answers, len(unique))
        places = contract.places(answers, len(unique))
        usage = _share(outcomes, len(texts))
        cached = all(o.cached for o in outcomes)
        why = next((f"{o.kind} {o.detail}".strip() for o in outcomes if o.kind != "ok"), "refusal")
        lost = replace(missing(f"judge: {why}"), usage=usage)
        by_text = {
            text: lost
            if levels is None
            else Measurement(
                "measured",
                self.rubric.with_total({n: contract.value(d) for n, d in levels.items()}),
                usage=usage,
                cached=cached,
                levels=levels,
                place=place,
            )
            for text, levels, place in zip(unique, found, places, strict=True)
        }
        return [by_text[text] for text in texts]

    def poll(self, timeout: float | None = 0.0) -> list[Graded]:
        """What is ready. Raises PawlError for an outage or a ledger that cannot be written."""
        return drained(self._box, timeout, self._raise_broken)

    def poll_checks(self, timeout: float | None = 0.0) -> list[Graded]:
        """The same of what `submit_check` queued."""
        return drained(self._checks, timeout, self._raise_broken)

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


def _share(outcomes: Sequence[Outcome], n: int) -> dict[str, float]:
    """An equal share of what the calls of a group cost: the shares of its members sum to it."""
    total = sum((o.usage for o in outcomes), Usage())
    sums: dict[str, float] = {k: v for k, v in asdict(total).items() if k != "billed"}
    sums |= {"requests": sum(o.attempts for o in outcomes), "usd": sum(o.usd for o in outcomes)}
    return {name: value / n for name, value in sums.items()} | {
        "simulated": float(any(o.simulated for o in outcomes))
    }
