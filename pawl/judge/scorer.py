"""A judge as a scorer: groups of completions in, measurements out, without ever waiting.

    JudgeScorer(cfg, ledger_path) -> submit(key, problem, completions) ... poll() -> measurements

A thread of its own runs the event loop with all calls on the way. Equal completions of a group are
graded once. A measurement holds the criteria and their weighted mean as `total`, 0 to 1, and its
share of what the group cost; with `judge.baseline` also what the judge finds of the problem's
reference. What a judge could not grade is missing with its reason. An outage and
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
        self._box: queue.SimpleQueue[tuple[Hashable, list[Measurement]]] = queue.SimpleQueue()
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
        self._calls.start(self._grade(key, problem, tuple(completions), fresh))

    async def _grade(
        self, key: Hashable, problem: Problem, completions: tuple[Completion, ...], fresh: bool
    ) -> None:
        texts = [contract.candidate_text(c) for c in completions]
        unique = list(dict.fromkeys(texts))
        if self.cfg.mode == "pairwise" and len(unique) < 2:
            why = "pairwise needs two different completions"
            self._box.put((key, [missing(why)] * len(texts)))
            return
        asking = [self._ask(problem, unique, fresh)]
        if self.cfg.baseline and problem.reference.strip():  # kept, so paid for once a problem
            reference = contract.candidate_text(Completion(problem.id, problem.reference))
            asking.append(self._ask(problem, [reference], False))
        (found, outcomes), *more = await asyncio.gather(*asking)
        self._calls.broken = self._calls.broken or self._judge.stopped()
        spent = [*outcomes, *(o for _, own in more for o in own)]
        usage = _share(spent, len(texts))
        none = missing("the problem has none") if self.cfg.baseline else None
        baseline = next((measurements[0] for measurements, _ in more), none)
        by_text = {
            text: replace(m, usage=usage, baseline=baseline)
            for text, m in zip(unique, found, strict=True)
        }
        self._box.put((key, [by_text[text] for text in texts]))

    async def _ask(
        self, problem: Problem, texts: list[str], fresh: bool
    ) -> tuple[list[Measurement], list[Outcome]]:
        """What the judge says of some texts, each once, without what it cost; and all answers."""
        task, lang, mode = contract.task_text(problem), problem.lang, self.cfg.mode
        turns = range(self.cfg.passes)
        lists = (contract.requests(self.rubric, mode, lang, task, texts, t) for t in turns)
        asked = [request for requests in lists for request in requests]
        outcomes = await asyncio.gather(*(self._judge.ask(r, fresh) for r in asked))
        answers = [(r, o.levels) for r, o in zip(asked, outcomes, strict=True)]
        cached = all(o.cached for o in outcomes)
        why = next((f"{o.kind} {o.detail}".strip() for o in outcomes if o.kind != "ok"), "refusal")
        found = [
            missing(f"judge: {why}")
            if values is None
            else Measurement("measured", self.rubric.with_total(values), cached=cached)
            for values in contract.member_values(answers, len(texts))
        ]
        return found, outcomes

    def poll(self, timeout: float | None = 0.0) -> list[tuple[Hashable, list[Measurement]]]:
        """What is ready. Raises PawlError for an outage or a ledger that cannot be written."""
        return drained(self._box, timeout, self._raise_broken)

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
