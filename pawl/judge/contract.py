"""The judge's contract: typed questions about candidates in, distributions over levels out.

A request holds subjects (candidates, or pairs of them) and asks each criterion of each subject.
Candidates stand in random order under random ids, in fences longer than any run inside, and are
declared untrusted; an answer counts only when it names exactly these ids and levels in range.
Left out: how a provider is asked (`wire.py`), retries and money (`client.py`).
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from pawl.judge.rubric import Rubric
from pawl.sandbox.extract import final_answer
from pawl.types import Completion, Problem

VERSION = "1"  # of prompts and parsing; a part of every key
LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
WORSE, BETTER = ("clearly better", "a little better"), ("a little better", "clearly better")
PREFERENCE = (
    *(f"The second is {much}." for much in WORSE),
    "Neither is better.",
    *(f"The first is {much}." for much in BETTER),
)
SYSTEM = (Path(__file__).parent / "system.txt").read_text("utf-8")
JSON_RULE = """Answer with JSON alone: {"verdicts": [{"id": ..., CRITERION: LEVEL, ...}, ...]}, one
object for each id given, every criterion in it, levels as the numbers of the rubric."""
Distribution = tuple[float, ...]
Levels = dict[str, dict[str, Distribution | None]]  # by subject and criterion; None: refused


class Malformed(ValueError):
    """An answer that does not hold exactly what was asked for."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One criterion as it is asked here. levels: descriptions from worst to best."""

    name: str
    question: str
    levels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """One judgement: a system text, a prompt, and what must come back.

    subjects: the ids to grade, in the order shown; members: which candidates each stands for (two
    indices for a pair, the first one first). rubric: name, version and hash, for the key.
    """

    system: str
    prompt: str
    subjects: tuple[str, ...]
    members: tuple[tuple[int, ...], ...]
    criteria: tuple[Asked, ...]
    rubric: str = ""

    def questions(self) -> Iterator[tuple[str, Asked]]:
        """(subject, criterion) in the order of decision questions."""
        return ((s, c) for s in self.subjects for c in self.criteria)

    def schema(self) -> dict[str, object]:
        """JSON schema of a strict answer; the same for every request of a rubric."""
        ranges = {c.name: [*range(len(c.levels))] for c in self.criteria}
        fields = {name: {"type": "integer", "enum": levels} for name, levels in ranges.items()}
        closed = {"type": "object", "additionalProperties": False}
        row = {**closed, "properties": {"id": {"type": "string"}, **fields}}
        rows = {"type": "array", "items": {**row, "required": ["id", *fields]}}
        return {**closed, "properties": {"verdicts": rows}, "required": ["verdicts"]}


def clean(text: str) -> str:
    """Text that any JSON and UTF-8 can carry: lone surrogates become question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def fenced(text: str, label: str = "") -> str:
    """Text in a fence of backticks longer than any run inside it."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(4, longest + 1)
    return f"{fence}{label}\n{text}\n{fence}"


def task_text(problem: Problem) -> str:
    """What the model was asked, whole: a task is never cut."""
    turns = [f"{m.role}: {m.content}" for m in problem.messages]
    return clean("\n\n".join(turns) or problem.prompt)


def candidate_text(completion: Completion) -> str:
    """What is graded of a completion: its answer, without thinking."""
    return clean(final_answer(completion.text)).strip("\n")


def _ids(n: int, rng: random.Random) -> list[str]:
    """Distinct ids that say nothing of order or worth."""
    size = len(LETTERS)
    places = ([i // size**2, i // size % size, i % size] for i in rng.sample(range(size**3), n))
    return ["".join(LETTERS[k] for k in place) for place in places]


def rubric_text(criteria: Sequence[Asked]) -> str:
    """Criteria with their levels, as a judge reads them."""
    return "\n\n".join(
        f"{c.name}: {c.question}\n" + "\n".join(f"  {i} = {t}" for i, t in enumerate(c.levels))
        for c in criteria
    )


def requests(
    rubric: Rubric, mode: str, lang: str, task: str, candidates: Sequence[str], turn: int = 0
) -> list[Request]:
    """The calls that grade these candidates once.

    mode: listwise (one call), pointwise (one a candidate), pairwise (one a pair; odd turns show
    each pair the other way round). turn: 0, 1, ...: other orders and ids, as a function of all
    that is asked.
    """
    pairs = mode == "pairwise"
    criteria = tuple(
        Asked(c.name, c.asked(lang), PREFERENCE if pairs else c.levels) for c in rubric.criteria
    )
    # Two turns share an order, one forwards and one back; ids are new in each.
    content = [VERSION, rubric.digest, mode, lang, task, *candidates]
    rng, naming = (
        random.Random(hashlib.sha256(json.dumps([*content, i]).encode()).digest())
        for i in (turn // 2 * 2, f"ids {turn}")
    )
    flip = turn % 2 == 1
    ids = _ids(len(candidates), naming)
    order = rng.sample(range(len(candidates)), len(candidates))
    step = -1 if flip else 1
    if pairs:
        shown = [rng.sample(pair, 2)[::step] for pair in combinations(sorted(order), 2)]
    else:
        shown = [order[::step]] if mode == "listwise" else [[i] for i in order]
    subject = "pair" if pairs else "candidate"
    system = SYSTEM.format(subject=subject) + rubric_text(criteria)
    key = f"{rubric.name} {rubric.version} {rubric.digest}"
    found = []
    for group in shown:
        parts = [f"Task:\n\n{fenced(task)}"]
        parts += [f"Candidate {ids[i]}:\n\n{fenced(candidates[i])}" for i in group]
        joined = "-".join(ids[i] for i in group)
        subjects = (joined,) if pairs else tuple(ids[i] for i in group)
        members = (tuple(group),) if pairs else tuple((i,) for i in group)
        parts.append(f"Grade by the rubric: {', '.join(subjects)}.")
        found.append(Request(system, "\n\n".join(parts), subjects, members, criteria, key))
    return found


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object whose names must differ."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Malformed("a name stands twice in one object")
    return found


def _loads(text: str) -> object:
    """JSON, alone or in the only fenced block; never repaired."""
    blocks = re.findall(r"^```[a-z]*\n(.*?)\n```\s*$", text, re.DOTALL | re.MULTILINE)
    try:
        return json.loads(blocks[0] if len(blocks) == 1 else text, object_pairs_hook=_unique)
    except Malformed:
        raise
    except (ValueError, RecursionError) as e:
        raise Malformed(f"no JSON: {type(e).__name__}") from None


def read_json(request: Request, text: str) -> Levels:
    """A strict JSON answer as certain levels. Raises Malformed."""
    whole = _loads(text)
    rows = whole.get("verdicts") if isinstance(whole, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise Malformed("no list of verdicts")
    ids = [row.get("id") for row in rows]
    if not all(isinstance(i, str) for i in ids) or sorted(ids) != sorted(request.subjects):
        raise Malformed("the ids of the answer are not the ids that were given")
    names = {"id", *(c.name for c in request.criteria)}
    found: Levels = {}
    for row in rows:
        if set(row) != names:
            raise Malformed("a verdict does not hold exactly the criteria")
        levels: dict[str, Distribution | None] = {}
        for c in request.criteria:
            level = row[c.name]
            if type(level) is not int or not 0 <= level < len(c.levels):
                raise Malformed(f"{c.name} is no level of the rubric")
            levels[c.name] = tuple(float(i == level) for i in range(len(c.levels)))
        found[row["id"]] = levels
    return found


def value(distribution: Distribution) -> float:
    """Mean level of a distribution, 0 for the worst and 1 for the best."""
    top = len(distribution) - 1
    return sum(i * p for i, p in enumerate(distribution)) / top


def member_levels(
    answers: Sequence[tuple[Request, Levels | None]], n: int
) -> list[dict[str, Distribution] | None]:
    """Distributions of n candidates by criterion; a mean over all calls that graded them.

    Of the second of a pair it is the answer read the other way round.

    None in place of `Levels` is a call that failed. A candidate is None unless every call that
    showed it answered every criterion about it: a mean over what happened to arrive would depend
    on what failed.
    """
    sums: list[dict[str, list[Distribution]] | None] = [{} for _ in range(n)]
    for request, levels in answers:
        for subject, members in zip(request.subjects, request.members, strict=True):
            found = levels[subject] if levels is not None else {}
            for place, member in enumerate(members):
                entry = sums[member]
                for c in request.criteria:
                    given = found.get(c.name)
                    if given is None or entry is None:
                        sums[member] = entry = None
                        break
                    entry.setdefault(c.name, []).append(given[::-1] if place else given)
    return [
        {name: tuple(sum(p) / len(d) for p in zip(*d, strict=True)) for name, d in entry.items()}
        if entry
        else None
        for entry in sums
    ]


def places(answers: Sequence[tuple[Request, Levels | None]], n: int) -> list[float | None]:
    """What order may have done to n candidates.

    Listwise: where each was shown, 1 for first and 0 for last, a mean over the calls. Of pairs: by
    how much the first of a pair was preferred, -1 to 1, the same for all: with each pair in both
    orders, what they deserve cancels. None where a candidate stands alone, or nothing was answered.
    """
    early: list[list[float]] = [[] for _ in range(n)]
    preferred = []
    for request, levels in answers:
        last = len(request.members) - 1
        if len(request.members[0]) > 1 and levels is not None:
            given = [d for row in levels.values() for d in row.values() if d is not None]
            preferred += [2.0 * value(d) - 1.0 for d in given]
        for k, members in enumerate(request.members if last else ()):
            early[members[0]].append(1.0 - k / last)
    if preferred:
        return [sum(preferred) / len(preferred)] * n
    return [sum(e) / len(e) if e else None for e in early]
