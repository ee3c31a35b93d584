"""What a statement is about: which metric, and whether it tells what was or what ought to be.

Left out: whether it is true (`claims`).
"""

from __future__ import annotations

import re

from pawl.doctor.claims_figures import Figure, figures
from pawl.doctor.claims_parse import Statement
from pawl.doctor.claims_terms import Term, terms
from pawl.doctor.diagnose import Diagnosis

PLANNED = re.compile(
    r"\b(?:should|will|would|expect\w*|target\w*|potential\w*|goals?|aim\w*|hope\w*|estimate\w*|"
    r"success (?:metrics?|criteria)|healthy|ideal\w*|reach|must|trajectory|criteri\w+|"
    r"red flags?|sweep|green lights?|monitor\w*|contingency|recommend\w*|next steps|action plan|"
    r"fixes|if|after phase|after fixes|what to (?:check|watch)|to watch|"
    r"optimistic|conservative estimate|progression)\b",
    re.I,
)
ORDER = re.compile(
    r"^(?:\w+ ?\d*: )?(?:increase|reduce|raise|lower|add|use|try|consider|monitor|track|check|"
    r"watch|apply|stop|adjust|train|set|implement|improve|fix|ensure|validate|compare|look|start|"
    r"keep|decrease|optimi[sz]e|accelerate|stabili[sz]e)\b",
    re.I,
)
NORM = re.compile(r"expected|target|healthy|goal|threshold|limit|ideal|normal", re.I)
LATER = re.compile(r"^(?:after|phase|predicted|forecast|projected|future|next)\b", re.I)
WHOLE = re.compile(
    r"\b(?:training|model|run|policy|learning)\b.{0,30}\b(?:is|are|was|has|keeps|seems|appears|"
    r"shows)\b|\b(?:quality|performance)\b",
    re.I,
)
LEADS = re.compile(
    r"^(?:(?:the|its) )?(?:range|values?|current\w*|mean|average|min\w*|max\w*|healthy|now|level|"
    r"target|start|end|latest|observed|from|symptom|trend)\b[^:]*:\s*~?$|^\W*$",
    re.I,
)


def subject(f: Figure, s: Statement, d: Diagnosis) -> Term | None:
    """The metric of a figure in a sentence that names none: the row's, or the heading's where the
    figure opens the sentence ("Range: 0.1 - 0.2"); a change in percent is taken for the goal's."""
    if s.kind == "cell":
        return first_of((s.label, s.column), d)
    above = first_of((s.lead, *reversed(s.headings[-2:])), d)
    if f.kind == "relative":
        return above or goal_of(d)
    return above if LEADS.search(s.text[: f.start]) else None


def first_of(texts: tuple[str, ...], d: Diagnosis) -> Term | None:
    """The first metric that any of these texts names."""
    return next((found[0] for text in texts if (found := terms(text, d.log))), None)


def goal_of(d: Diagnosis) -> Term | None:
    goal = d.log.series.get(d.goal)
    return Term(d.goal, 0, 0, (goal,), "") if goal is not None else None


def nearest(f: Figure, text: str, found: list[Term]) -> Term | None:
    """The metric that a figure of a text belongs to: the last before it, or one right behind it."""
    before = [t for t in found if t.end <= f.start]
    joint = [t for t in before if re.match("margin|gap|difference", t.text, re.I)]
    if joint and len(before) - before.index(joint[-1]) <= 3:  # "gap between chosen and rejected"
        return joint[-1]
    behind = [t for t in found if f.end <= t.start <= f.end + 12]
    if behind and (not before or f.start - before[-1].end > 40):
        return behind[0]
    if behind and text[f.end : behind[0].start].strip() in ("of", "of the", "of all"):
        return behind[0]
    later = [t for t in found if f.end <= t.start <= f.end + 40]
    return before[-1] if before else (later[0] if later else None)


def planned(s: Statement) -> bool:
    """Whether a statement is about what ought to be or may come, not about what was measured."""
    if s.kind == "log":
        return False
    if s.kind == "cell":
        return bool(NORM.search(s.column) or LATER.search(s.column))
    above = any(PLANNED.search(h) or ORDER.search(h) for h in (*s.headings[1:], s.lead))
    return above or bool(PLANNED.search(s.text) or ORDER.search(s.text))


def whole(s: Statement, d: Diagnosis) -> Term | None:
    """What a course without a metric is of: the row's, the heading's, or the goal's."""
    if s.kind == "cell":
        return first_of((s.label,), d)
    above = first_of((s.lead, *reversed(s.headings[-2:])), d)
    if LEADS.search(s.text.split("(")[0].rstrip("0123456789.- ")) or any(
        f.kind == "relative" for f in figures(s.text)
    ):
        return above or goal_of(d)
    return (above or goal_of(d)) if WHOLE.search(s.text) else None
