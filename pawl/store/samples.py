"""Choosing among a run's completions: by stage, best and worst, and failures grouped by cause.

A stage is the first thing that went wrong with a completion, or "pass". Compiler messages are
normalised (names, numbers and places taken out), so that one mistake made in many programs is one
group. Left out: reading rows (`read`), printing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

Row = Mapping[str, object]


def stage_of(status: str, verdict: str | None, reason: str, finish: str) -> str:
    """The first thing that went wrong: missing, truncated, syntax, types, compile, a verdict.

    Where no test was run: how the completion ended.
    """
    if status == "missing":
        return "missing"
    if verdict is None:
        return "truncated" if finish == "length" else "end"
    if verdict != "compile":
        return verdict
    if finish == "length":
        return "truncated"
    return {"syntax": "syntax", "type": "types"}.get(reason.split(":", 1)[0], "compile")


def score_of(row: Row) -> Row:
    """The score of a sample row."""
    score = row["score"]
    assert isinstance(score, Mapping)
    return score


def stage(row: Row) -> str:
    """The stage of a sample row."""
    score = score_of(row)
    status, verdict, reason = (str(score.get(k) or "") for k in ("status", "verdict", "reason"))
    return stage_of(status, verdict or None, reason, str(row.get("finish", "")))


def total(row: Row) -> float | None:
    """The total of a sample row, None when its score is missing."""
    value = score_of(row).get("total")
    return float(value) if isinstance(value, int | float) else None


def matching(
    rows: Iterable[Row], problem: str | None = None, stage_name: str | None = None
) -> list[Row]:
    """Rows of one problem and of one stage (or verdict, or branch); None takes all."""
    found = []
    for row in rows:
        score = score_of(row)
        names = (stage(row), score.get("verdict"), score.get("branch"))
        wanted = problem is None or row.get("problem_id") == problem
        if wanted and (stage_name is None or stage_name in names):
            found.append(row)
    return found


def ranked(rows: Iterable[Row], n: int, best: bool) -> list[Row]:
    """The n rows with the highest (or lowest) totals; missing scores have no rank."""
    known = [(t, row) for row in rows if (t := total(row)) is not None]
    return [row for _, row in sorted(known, key=lambda pair: pair[0], reverse=best)[:n]]


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Failures of one kind: how many, their share of all failures, and one of them."""

    stage: str
    message: str
    difficulty: str
    count: int
    share: float
    example: Row


def failures(rows: Iterable[Row]) -> list[FailureGroup]:
    """Failed rows grouped by stage, normalised message and difficulty, the largest group first."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    failed = [row for row in rows if stage(row) != "pass"]
    for row in failed:
        message = normalised(str(score_of(row).get("reason") or ""))
        key = (stage(row), message, str(row.get("difficulty") or "unknown"))
        groups.setdefault(key, []).append(row)
    found = [
        FailureGroup(
            *key, len(g), len(g) / len(failed), min(g, key=lambda row: len(str(row["text"])))
        )
        for key, g in groups.items()
    ]
    return sorted(found, key=lambda g: (-g.count, g.stage, g.message))


_RETURNED = re.compile(r"returned (.*), expected (.*), for `", re.DOTALL)
_KINDS = {"'": "a text", '"': "a text", "[": "a list", "(": "a tuple", "{": "a dict or set"}


def _kind(value: str) -> str:
    """What a value is, from how it is written; single words stay."""
    if re.match(r"\(?-?\.?\d", value):
        return "a number"
    return value if value.isidentifier() else _KINDS.get(value[:1], "a value")


def normalised(message: str) -> str:
    """A compiler message or exception without what differs from program to program.

    Its first line that says something; quoted names become `_`, numbers N, places go; of values
    that were returned and expected their kinds stay.
    """
    if found := _RETURNED.match(message):
        return f"returned {_kind(found[1])}, expected {_kind(found[2])}"
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    saying = [x for x in lines if not re.match(r"File \S+, lines? ", x)] or lines or [""]
    text = re.sub(r'File "[^"]*",?', "", saying[0])
    text = re.sub(r"\b(lines?|characters?|column|offset) [0-9]+(-[0-9]+)?[,:]? ?", "", text)
    text = re.sub(r"\"[^\"]*\"|'[^']*'|`[^`]*`|\u201c[^\u201d]*\u201d", "_", text)
    text = re.sub(r"\bvalue [a-z_][A-Za-z0-9_']*", "value _", text)
    text = re.sub(r"\b(constructor|module|field) [A-Za-z_][A-Za-z0-9_'.]*", r"\1 _", text)
    text = re.sub(r"-?\b[0-9]+(\.[0-9]+)?\b", "N", text)
    return re.sub(r"\s+", " ", text).strip(" :,")
