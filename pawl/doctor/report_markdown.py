"""A diagnosis as a Markdown page, in the order that a hand-written analysis has.

Summary with one recommendation, configuration, metrics, what works, issues, causes, prescriptions,
what to do if they fail, trajectory, what to watch, when to stop, next steps, glossary. Foreign text
is escaped. Left out: charts (the HTML page has them).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pawl.doctor.diagnose import Diagnosis
from pawl.doctor.markdown import bullets, escaped, numbered
from pawl.doctor.report_metrics import configuration, glossary, metrics
from pawl.doctor.report_text import change, counted, grouped, taken_for, uncertainty
from pawl.rules.finding import Finding, Prescription
from pawl.rules.prescribe import NO_OPTION

HEADINGS = {"critical": "Critical", "warning": "Warnings", "info": "For information"}
WEIGHTS = {"critical": 3.0, "warning": 2.0, "info": 1.0}
MOST_QUIET = 60


def page(d: Diagnosis) -> str:
    """The whole page."""
    parts = (
        ("Summary", _summary(d)),
        ("Configuration and what changed", configuration(d)),
        ("Metrics", metrics(d)),
        ("What works", _works(d)),
        ("Issues", _issues(d)),
        ("Causes", _causes(d)),
        ("Prescriptions", _prescriptions(d)),
        ("If they do not help", _otherwise(d)),
        ("Expected trajectory", _trajectory(d)),
        ("What to watch", _watch(d)),
        ("Stop and continue", _criteria(d)),
        ("Next steps", _next(d)),
        ("What could not be checked", _unchecked(d)),
        ("Glossary", glossary(d)),
    )
    out = [f"# Analysis of {escaped(d.log.path)}", ""]
    for title, lines in parts:
        body = list(lines)
        out += [f"## {title}", "", *(body or ["Nothing.", ""])]
    return "\n".join(out).rstrip() + "\n"


def recommendation(d: Diagnosis) -> str:
    """The one thing to do now."""
    first = prescriptions(d)[:1]
    needed = f" Wait for {d.needed} points," if d.needed else " Wait for more points,"
    text = {
        "INVALID RUN": "Change no option: repair the measurement, then start again.",
        "CANNOT TELL": f"Change nothing.{needed} or measure on more problems.",
        "CONVERGED": "Stop, and take the best checkpoint by held-out evaluation.",
        "HEALTHY BUT UNUSUAL": "Go on as it is; what looks odd is explained below.",
        "HEALTHY": "Go on as it is.",
    }.get(d.verdict)
    if text is None:
        text = f"Try one change: {_told(first[0][1])}." if first else "Change no option yet."
    make_sure = f" To make sure of the cause: {d.experiment}." if d.experiment else ""
    return text + ("" if d.verdict.startswith("HEALTHY") else make_sure)


def prescriptions(d: Diagnosis) -> list[tuple[Finding, Prescription]]:
    """What findings suggest, by expected effect per cost, the best first; equal ones once.

    Effect: severity (3, 2, 1) times the weight of the finding's first cause. Cost: its steps in
    fifties, a new start as 5, anything else as 1; a change that takes effect live costs half, one
    of an option that the run's library lacks costs ten times as much: somebody has to write it.
    """
    found: dict[tuple[str, str, str], tuple[float, Finding, Prescription]] = {}
    for f in d.findings:
        p = f.prescription
        if p is None:
            continue
        steps = re.search(r"(\d+) steps", p.cost)
        cost = int(steps[1]) / 50.0 if steps else 5.0 if "new start" in p.cost else 1.0
        cost *= 10.0 if p.name.startswith(NO_OPTION) else 0.5 if p.live else 1.0
        effect = WEIGHTS[f.severity] * (f.causes[0][1] if f.causes else 0.5)
        worth = effect / max(cost, 0.05)
        key = (p.option, p.after, p.why)
        if key not in found or found[key][0] < worth:
            found[key] = (worth, f, p)
    return [(f, p) for _, f, p in sorted(found.values(), key=lambda row: -row[0])]


def _told(p: Prescription) -> str:
    told = change(p)
    return f"{told} ({p.why})" if told else p.why


def _summary(d: Diagnosis) -> Iterator[str]:
    told = uncertainty(d)
    cause = d.causes[0]
    blamed = f"The likeliest cause is {cause.id} ({cause.weight:.0%}): {cause.meaning}."
    yield (
        f"**{d.verdict}**: {escaped(d.reason)}. {escaped(told) + '. ' if told else ''}"
        f"{counted(len(d.findings), 'finding')}, {counted(len(d.not_checked), 'rule')} that could "
        f"not be checked.{'' if d.verdict.startswith('HEALTHY') else ' ' + escaped(blamed)}"
    )
    yield ""
    yield f"**Recommendation.** {escaped(recommendation(d), 900)}"
    yield ""
    yield f"The log was taken for: {escaped(taken_for(d))}."
    yield ""
    yield from bullets([escaped(note) for note in d.log.notes])


def _works(d: Diagnosis) -> Iterator[str]:
    rows = []
    held = [row for row in d.log.checks if row.get("passed") is True]
    if held:
        rows.append(f"{len(held)} of {len(d.log.checks)} checks of the preflight hold")
    if d.trend is not None and d.trend.significant and d.verdict.startswith("HEALTHY"):
        rows.append(f"{d.goal} moves {d.trend.direction}, beyond noise")
    quiet = [f"{rule.code} {rule.name}" for rule in d.quiet[:MOST_QUIET]]
    if quiet:
        rows.append(f"looked for and not found: {', '.join(quiet)}")
    yield from bullets([escaped(row, 4000) for row in rows])


def _issues(d: Diagnosis) -> Iterator[str]:
    for severity, title in HEADINGS.items():
        members = [f for f in d.findings if f.severity == severity]
        if members:
            yield from (f"### {title}", "")
        for f in members:
            yield f"**{f.code} {f.name}**: {escaped(f.summary)}"
            yield ""
            rows = [f"where: {escaped(f.place)}", *(escaped(text) for text in f.evidence)]
            rows += [
                f"cause: {cause} ({weight:.0%}){': ' + escaped(why) if why else ''}"
                for cause, weight, why in f.causes
            ]
            yield from bullets(rows)


def _causes(d: Diagnosis) -> Iterator[str]:
    for i, cause in enumerate(d.causes, 1):
        yield f"{i}. **{cause.id}** ({cause.weight:.0%}): {escaped(cause.meaning)}"
        yield from (f"   - for: {escaped(text)}" for text in cause.evidence)
        yield from (f"   - against: {escaped(text)}" for text in cause.against)
    yield ""
    if d.experiment:
        title = "To tell the first two apart" if len(d.causes) > 1 else "To make sure"
        yield f"{title}: {escaped(d.experiment, 900)}."
        yield ""


def _prescriptions(d: Diagnosis) -> Iterator[str]:
    rows = prescriptions(d)
    if d.verdict == "INVALID RUN":
        yield "Measurements are broken, so what they say is no reason to change an option."
        yield ""
    elif not rows:
        yield "None."
        yield ""
    for i, (f, p) in enumerate(rows, 1):
        yield f"{i}. {escaped(_told(p), 900)} ({f.code})"
        facts = {
            "expected": p.expected,
            "risk": p.risk,
            "cost of trying": p.cost,
            "verify": p.verify,
            "takes effect": "live" if p.live else "with a fork or a new start" if p.option else "",
        }
        yield from (f"   - {name}: {escaped(text)}" for name, text in facts.items() if text)
    if rows:
        yield ""
        yield "One change at a time, beside an unchanged fork from the same checkpoint."
        yield ""


def _otherwise(d: Diagnosis) -> Iterator[str]:
    rows = []
    by = f" by step {d.forecast.step:.10g}" if d.forecast is not None else ""
    tried = prescriptions(d)
    if tried:
        rows.append(f"if the first change is not verified{by}, take it back")
        rows += [f"then try: {_told(p)}" for _, p in tried[1:3]]
    rows += [f"then look for {c.id}: {c.meaning}" for c in d.causes[1:3]]
    if d.verdict == "CANNOT TELL":
        rows.append(f"if nothing is seen{by}, enlarge the evaluation rather than change options")
    yield from bullets([escaped(row, 900) for row in rows])


def _trajectory(d: Diagnosis) -> Iterator[str]:
    if d.forecast is None:
        why = "the measurement is broken" if d.verdict == "INVALID RUN" else "too few numbers"
        yield f"No forecast: {why}."
    else:
        how = {
            "persistence": "Persistence: the last quarter's level, with a band from its noise.",
            "extrapolation": "Average of a damped trend and an exponential saturation.",
        }[d.forecast.method]
        yield f"{escaped(d.forecast.text)}. {how}"
        if d.target is not None:
            yield f"{escaped(d.target.text)}."
    yield ""


def _watch(d: Diagnosis) -> Iterator[str]:
    names = [name for f in d.findings for name in f.series] + [c.metric for c in d.criteria]
    if d.goal:
        names.insert(0, d.goal)
    rows = []
    for name in dict.fromkeys(names):
        series = d.log.series.get(name)
        if series is not None:
            rows.append(
                f"{escaped(name)}: column {escaped(series.source)} of {escaped(d.log.path)}"
            )
    yield from bullets(rows)


def _criteria(d: Diagnosis) -> Iterator[str]:
    if d.before is not None and d.before.answers:
        yield f"Stated in {escaped(d.before.path)}:"
        yield ""
        yield from bullets([escaped(answer.text()) for answer in d.before.answers])
    yield from bullets([escaped(f"{c.text()}: {c.why}") for c in d.criteria])


def _next(d: Diagnosis) -> Iterator[str]:
    now = [recommendation(d)]
    later = (
        [f"run the doctor again at step {d.forecast.step:.10g}"] if d.forecast is not None else []
    )
    later += [f"confirm or rule out {c.id}" for c in d.causes[1:3] if d.causes[0].id != "none"]
    if d.not_checked:
        lacks = grouped(d.not_checked)[0][0].removeprefix("the log has no ")
        later.append(f"log what is missing, first of all {lacks}")
    yield "Now:"
    yield ""
    yield from numbered([escaped(row, 900) for row in now])
    yield "Later:"
    yield ""
    yield from numbered([escaped(row, 900) for row in later])


def _unchecked(d: Diagnosis) -> Iterator[str]:
    rows = []
    for because, members in grouped(d.not_checked, whole=True):
        rows.append(f"{because}: {', '.join(f'{m.code} {m.name}' for m in members)}")
    yield from bullets([escaped(row, 2000) for row in rows])
