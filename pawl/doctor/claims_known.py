"""Known misreadings in a sentence, and causes that the diagnosis bears out.

The misreadings stand in `misreadings.toml` by pattern, never by document. Left out: limits, levels
and forecasts (`claims_norms`), figures (`claims_values`), courses (`claims_trend`).
"""

from __future__ import annotations

import fnmatch
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pawl.doctor.claims_values import Judged, Verdict
from pawl.doctor.diagnose import Diagnosis

SURE = 0.5  # weight from which on a cause of the diagnosis bears a claim out


@dataclass(frozen=True, slots=True)
class Reading:
    """A row of misreadings.toml: patterns that must all be there, words beside which it is not
    meant, metrics whose presence in the log takes it away."""

    id: str
    patterns: tuple[re.Pattern[str], ...]
    verdict: Verdict
    metric: str
    reason: str
    cause: str
    without: tuple[str, ...]
    unless: re.Pattern[str]

    def fits(self, text: str, d: Diagnosis) -> bool:
        """Whether a sentence holds it and the log cannot answer better."""
        if self.unless.search(text) or not all(p.search(text) for p in self.patterns):
            return False
        names = list(d.log.series)
        return not any(fnmatch.filter(names, name) for name in self.without)


@cache
def misreadings() -> tuple[Reading, ...]:
    """Every known misreading; a later row of an id takes reason and cause from the first."""
    path = Path(__file__).with_name("misreadings.toml")
    found = list[Reading]()
    first: dict[str, dict[str, Any]] = {}
    for row in tomllib.loads(path.read_text(encoding="utf-8"))["reading"]:
        told = first.setdefault(row["id"], row)
        patterns = row.get("all") or [row["pattern"]]
        found.append(
            Reading(
                row["id"],
                tuple(re.compile(one, re.I) for one in patterns),
                row["verdict"],
                row.get("metric", ""),
                row.get("reason", told.get("reason", "")),
                row.get("cause", told.get("cause", "")),
                tuple(row.get("without", told.get("without", ()))),
                re.compile(row.get("unless", "(?!)"), re.I),
            )
        )
    return tuple(found)


def misread(text: str, d: Diagnosis) -> Iterator[tuple[Reading, Judged]]:
    """The misreadings that a sentence holds, each with its answer for this run."""
    said = set[str]()
    for one in misreadings():
        if one.id not in said and one.fits(text, d):
            said.add(one.id)
            yield one, _borne_out(one, d) or (one.verdict, one.reason)


def _borne_out(one: Reading, d: Diagnosis) -> Judged | None:
    """Whether the diagnosis holds the cause that a claim names."""
    if not one.cause or d.verdict in ("INVALID RUN", "CANNOT TELL"):
        return None
    for cause in d.causes:
        if cause.id == one.cause and cause.weight >= SURE:
            return (
                "supported",
                f"the diagnosis holds {cause.id} ({cause.weight:.0%}): {cause.meaning}",
            )
    return None
