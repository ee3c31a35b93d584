"""A diagnosis as a Markdown page, in the order that a hand-written analysis has.

Summary with one recommendation, configuration, metrics, what works, issues, causes, prescriptions,
what to do if they fail, trajectory, what to watch, when to stop, next steps, glossary. Foreign text
is escaped. Left out: charts (the HTML page has them).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from pawl.doctor.diagnose import Diagnosis
from pawl.doctor.markdown import escaped, listed
from pawl.doctor.report_metrics import configuration, glossary, metrics
from pawl.doctor.report_text import causes_of, change, counted, grouped, taken_for, uncertainty
from pawl.rules.finding import Finding, Prescription
from pawl.rules.prescribe import NO_OPTION

HEADINGS = {"critical": "Critical", "warning": "Warnings", "info": "For information"}
WEIGHTS = {"critical": 3.0, "warning": 2.0, "info": 1.0}
MOST_QUIET = 60


def page(d: Diagnosis) -> str:
    """The whole page: under each title blocks of text, a blank line between any two."""
    blocks = [f"# Analysis of {escaped(d.log.path)}"]
    for title, part in PARTS.items():
        body = [block for block in part(d) if block]
        blocks += [f"## {title}", *(body or ["Nothing."])]
    return "\n\n".join(blocks) + "\n"


def recommendation(d: Diagnosis) -> str:
    """The one thing to do now."""
    first = prescriptions(d)[:1]
    best = f"Try one change: {_told(first[0][1])}." if first else "Change no option yet."
    needed = f" Wait for {d.needed} points," if d.needed else " Wait for more points,"
    text = {
        "INVALID RUN": "Change no option: repair the measurement, then start again.",
        "CANNOT TELL": f"Change nothing.{needed} or measure on more problems.",
        "CONVERGED": "Stop, and take the best checkpoint by held-out evaluation.",
        "HEALTHY BUT UNUSUAL": "Go on as it is; what looks odd is explained below.",
        "HEALTHY": "Go on as it is.",
    }.get(d.verdict, best)
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
    yield f"**Recommendation.** {escaped(recommendation(d), 900)}"
    yield f"The log was taken for: {escaped(taken_for(d))}."
    yield listed(d.log.notes)


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
    yield listed(rows, 4000)


def _issues(d: Diagnosis) -> Iterator[str]:
    for severity, title in HEADINGS.items():
        members = [f for f in d.findings if f.severity == severity]
        yield f"### {title}" if members else ""
        for f in members:
            yield f"**{f.code} {f.name}**: {escaped(f.summary)}"
            causes = (f"cause: {text}" for text in causes_of(f))
            yield listed([f"where: {f.place}", *f.evidence, *causes])


def _causes(d: Diagnosis) -> Iterator[str]:
    rows = []
    for i, cause in enumerate(d.causes, 1):
        rows.append(f"{i}. **{cause.id}** ({cause.weight:.0%}): {escaped(cause.meaning)}")
        rows += [f"   - for: {escaped(text)}" for text in cause.evidence]
        rows += [f"   - against: {escaped(text)}" for text in cause.against]
    yield "\n".join(rows)
    if d.experiment:
        title = "To tell the first two apart" if len(d.causes) > 1 else "To make sure"
        yield f"{title}: {escaped(d.experiment, 900)}."


def _prescriptions(d: Diagnosis) -> Iterator[str]:
    found = prescriptions(d)
    if d.verdict == "INVALID RUN":
        yield "Measurements are broken, so what they say is no reason to change an option."
    elif not found:
        yield "None."
    rows = []
    for i, (f, p) in enumerate(found, 1):
        rows.append(f"{i}. {escaped(_told(p), 900)} ({f.code})")
        facts = {
            "expected": p.expected,
            "risk": p.risk,
            "cost of trying": p.cost,
            "verify": p.verify,
            "takes effect": "live" if p.live else "with a fork or a new start" if p.option else "",
        }
        rows += [f"   - {name}: {escaped(text)}" for name, text in facts.items() if text]
    yield "\n".join(rows)
    if found:
        yield "One change at a time, beside an unchanged fork from the same checkpoint."


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
    yield listed(rows, 900)


def _trajectory(d: Diagnosis) -> Iterator[str]:
    if d.forecast is None:
        why = "the measurement is broken" if d.verdict == "INVALID RUN" else "too few numbers"
        yield f"No forecast: {why}."
        return
    how = {
        "persistence": "Persistence: the last quarter's level, with a band from its noise.",
        "extrapolation": "Average of a damped trend and an exponential saturation.",
    }[d.forecast.method]
    beside = f"\n{escaped(d.target.text)}." if d.target is not None else ""
    yield f"{escaped(d.forecast.text)}. {how}{beside}"


def _watch(d: Diagnosis) -> Iterator[str]:
    names = [d.goal, *(name for f in d.findings for name in f.series)]
    names += [c.metric for c in d.criteria]
    found = {name: d.log.series[name] for name in names if name in d.log.series}
    yield listed([f"{n}: column {one.source} of {d.log.path}" for n, one in found.items()])


def _criteria(d: Diagnosis) -> Iterator[str]:
    if d.before is not None and d.before.criteria:
        yield f"Stated in {escaped(d.before.report)}:"
        yield listed([answer.text() for answer in d.before.criteria])
    yield listed([f"{c.text()}: {c.why}" for c in d.criteria])


def _next(d: Diagnosis) -> Iterator[str]:
    later = [f"run the doctor again at step {d.forecast.step:.10g}"] if d.forecast else []
    later += [f"confirm or rule out {c.id}" for c in d.causes[1:3] if d.causes[0].id != "none"]
    if d.not_checked:
        lacks = grouped(d.not_checked)[0][0].removeprefix("the log has no ")
        later.append(f"log what is missing, first of all {lacks}")
    yield "Now:"
    yield listed([recommendation(d)], 900, numbered=True)
    yield "Later:"
    yield listed(later, 900, numbered=True)


def _unchecked(d: Diagnosis) -> Iterator[str]:
    groups = grouped(d.not_checked, whole=True)
    rows = [f"{why}: {', '.join(f'{m.code} {m.name}' for m in group)}" for why, group in groups]
    yield listed(rows, 2000)


PARTS: dict[str, Callable[[Diagnosis], Iterator[str]]] = {
    "Summary": _summary,
    "Configuration and what changed": configuration,
    "Metrics": metrics,
    "What works": _works,
    "Issues": _issues,
    "Causes": _causes,
    "Prescriptions": _prescriptions,
    "If they do not help": _otherwise,
    "Expected trajectory": _trajectory,
    "What to watch": _watch,
    "Stop and continue": _criteria,
    "Next steps": _next,
    "What could not be checked": _unchecked,
    "Glossary": glossary,
}
