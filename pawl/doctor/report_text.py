"""A diagnosis for a terminal, in the manner of a linter: place, code, evidence, cause, help.

Lines are made of parts with a style each; who prints them decides whether styles become colours and
makes foreign text harmless. Findings come first, the verdict last, where a terminal leaves it in
view. Left out: Markdown and JSON (`report_markdown`, `report_json`), printing (`pawl.cli.doctor`).
"""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence

from pawl.doctor.diagnose import Diagnosis, Unchecked
from pawl.rules.finding import Finding, Prescription
from pawl.rules.prescribe import NO_OPTION

Part = tuple[str, str]  # text and style: "", bold, red, yellow, green, cyan, dim
Line = list[Part]
WIDTH, INDENT, LABEL = 100, "    ", 9
STYLES = {"critical": "red", "warning": "yellow", "info": "cyan"}
VERDICTS = {
    "INVALID RUN": "red",
    "FAULT": "red",
    "CANNOT TELL": "yellow",
    "CONVERGED": "green",
    "HEALTHY BUT UNUSUAL": "green",
    "HEALTHY": "green",
}
MOST = 5  # causes and missing metrics shown, all with verbose


def lines(d: Diagnosis, verbose: bool = False) -> Iterator[str]:
    """The whole report as plain text."""
    for line in styled(d, verbose):
        yield "".join(text for text, _ in line)


def styled(d: Diagnosis, verbose: bool = False) -> Iterator[Line]:
    """The whole report."""
    yield [(f"{d.log.path}", "bold"), (f": {taken_for(d)}", "")]
    yield from _block("note", *d.log.notes)
    for finding in d.findings:
        if verbose or not remark(finding):
            yield from _finding(d, finding)
    for finding in d.findings:
        if not verbose and remark(finding):
            text = f"{finding.code} {finding.name}: {finding.summary}"
            yield from _block("info", text, style="cyan")
    yield [("", "")]
    yield [("verdict: ", "bold"), (d.verdict, VERDICTS[d.verdict]), (f": {d.reason}", "")]
    yield from _block("seen", uncertainty(d))
    if d.verdict not in ("HEALTHY", "HEALTHY BUT UNUSUAL"):
        yield from _causes(d, verbose)
    yield from _ahead(d)
    yield from _unchecked(d.not_checked, verbose)
    yield _summary(d)


def taken_for(d: Diagnosis) -> str:
    """What the log was taken for: format, version, rows, what it is about."""
    log = d.log
    version = f" {log.version}" if log.version else ""
    kind = f", {log.kind} training" if log.kind else ""
    rows, metrics = counted(len(log.step_N), "row"), counted(len(log.series), "known metric")
    return f"{log.format}{version}{kind}, {rows}, {metrics}"


def uncertainty(d: Diagnosis) -> str:
    """Level and change of the goal with interval, what could have been seen, points needed."""
    t = d.trend
    if t is None or t.n < 4:
        return ""
    text = (
        f"{d.goal}: {t.first:.3g} -> {t.last:.3g}, change {t.difference:+.3g} (95% interval "
        f"{t.low:+.3g} to {t.high:+.3g}, {t.n} points); smallest change that would have been "
        f"seen: {t.detectable:.3g}"
    )
    return text + (f"; points to see a tenth of its level: {d.needed}" if d.needed else "")


def remark(finding: Finding) -> bool:
    """Whether a finding only says how a figure is to be read: a line, its evidence with verbose."""
    return finding.severity == "info" and finding.supports == "nothing"


def steps_of(place: str) -> tuple[str, str]:
    """The steps of a finding's place and the rest of it: "step 120-250", "policy/kl_ref"."""
    hit = re.search(r",?\s*\b(steps? [-+.\d]+(?:e[-+]?\d+)?(?:(?: to |\.\.)[-+.\d]+)?)", place)
    if hit is None:
        return "", place
    return hit[1], (place[: hit.start()] + place[hit.end() :]).strip(" ,")


def whole(d: Diagnosis) -> str:
    """The steps of the whole log, for a finding that is about all of it."""
    step_N = d.log.step_N
    if not len(step_N):
        return ""
    first, last = step_N[0], step_N[-1]
    return f"step {first:.10g}" if first == last else f"steps {first:.10g}-{last:.10g}"


def fixable(finding: Finding) -> bool:
    """Whether a change of an option is suggested that the run's own library has."""
    p = finding.prescription
    return p is not None and bool(p.option) and not p.name.startswith(NO_OPTION)


def causes_of(f: Finding) -> list[str]:
    """The causes that a finding names: `lr-too-high (60%): why`."""
    return [f"{cause} ({weight:.0%}){': ' + why if why else ''}" for cause, weight, why in f.causes]


def change(p: Prescription) -> str:
    """The change of an option, "" for advice."""
    return f"{p.name}: {p.before or 'unknown'} -> {p.after}" if p.option else ""


def _block(label: str, *texts: str, style: str = "dim") -> Iterator[Line]:
    """A label and wrapped text behind it, for each text that is not empty."""
    for text in texts:
        wrapped = textwrap.wrap(text, WIDTH - len(INDENT) - LABEL, break_on_hyphens=False)
        for i, row in enumerate(wrapped):
            yield [(f"{INDENT}{label if not i else '':<{LABEL}}", style), (row, "")]


def _finding(d: Diagnosis, f: Finding) -> Iterator[Line]:
    steps, where = steps_of(f.place)
    steps = steps or whole(d)
    yield [
        (f"{d.log.path}:", "bold"),
        (f"{steps}: " if steps else " ", ""),
        (f.code, STYLES[f.severity]),
        (f" {f.name} ", ""),
        ("[*] " if fixable(f) else "", "cyan"),
        (f.summary, ""),
    ]
    yield from _block("where", where)
    yield from _block("evidence", *f.evidence)
    yield from _block("cause", *causes_of(f))
    p = f.prescription
    if p is not None:
        first = change(p)
        yield from _block("help", f"{first + '; ' if first else ''}{p.why}", style="cyan")
        if p.expected:
            yield from _block("expect", f"{p.expected}; risk: {p.risk}; cost: {p.cost}")
        else:
            yield from _block("cost", f"{p.cost}; risk: {p.risk}")
        yield from _block("verify", p.verify + ("; takes effect live" if p.live else ""))


def _causes(d: Diagnosis, verbose: bool) -> Iterator[Line]:
    shown = d.causes if verbose else d.causes[:3]
    for cause in shown:
        yield [("cause: ", "bold"), (f"{cause.id} ({cause.weight:.0%}): {cause.meaning}", "")]
        if cause.evidence == (d.reason,):  # which has just been read
            continue
        yield from _block("for", *cause.evidence)
        against = cause.against if verbose else cause.against[:2]
        yield from _block("against", *against)
        if len(cause.against) > len(against):
            yield from _block("", f"and {len(cause.against) - len(against)} more (--verbose)")
    if len(d.causes) > len(shown):
        yield [(f"{INDENT}and {len(d.causes) - len(shown)} more (--verbose)", "dim")]
    if d.experiment:
        yield [("to tell them apart:" if len(d.causes) > 1 else "to make sure:", "bold")]
        yield from _block("try", d.experiment, style="cyan")


def _ahead(d: Diagnosis) -> Iterator[Line]:
    """Forecast, criteria, and what became of earlier ones."""
    if d.before is not None:
        yield [
            ("since the last report", "bold"),
            (f" ({d.before.report}, {d.before.verdict}):", ""),
        ]
        yield from _block("", *d.before.changed, *(answer.text() for answer in d.before.criteria))
    for told in (d.forecast, d.target):
        if told is not None:
            yield [("forecast: ", "bold"), (told.text, "")]
    if d.forecast is None:
        broken = d.verdict == "INVALID RUN"
        why = "a measurement that is broken" if broken else "so few numbers"
        yield [("forecast: ", "bold"), (f"none from {why}", "")]
    if d.criteria:
        yield [("from here on:", "bold")]
    for criterion in d.criteria:
        kind, _, rest = criterion.text().partition(" ")
        yield from _block(kind, rest)


def ahead(d: Diagnosis) -> list[str]:
    """Forecast and criteria as sentences, for a page; none where there is no forecast."""
    told = [f.text for f in (d.forecast, d.target) if f is not None]
    return told + [f"{criterion.text()}: {criterion.why}" for criterion in d.criteria]


def grouped(rows: Sequence[Unchecked], whole: bool = False) -> list[tuple[str, list[Unchecked]]]:
    """Rules that could not be judged, by the first metric that they lacked (whole: by all), the
    longest group first."""
    by: dict[str, list[Unchecked]] = {}
    for row in rows:
        by.setdefault(row.because if whole else row.because.split(" and no ")[0], []).append(row)
    return sorted(by.items(), key=lambda item: -len(item[1]))


def _unchecked(rows: Sequence[Unchecked], verbose: bool) -> Iterator[Line]:
    if not rows:
        return
    yield [("could not be checked: ", "bold"), (f"{counted(len(rows), 'rule')}, because", "")]
    groups = grouped(rows, verbose)
    for because, members in groups if verbose else groups[:MOST]:
        names = ", ".join(f"{m.code} {m.name}" if verbose else m.code for m in members)
        yield from _block(f"{len(members)}", f"{because}: {names}")
    if len(groups) > MOST and not verbose:
        rest = sum(len(members) for _, members in groups[MOST:])
        yield [(f"{INDENT}{'':<{LABEL}}and {rest} more (--verbose)", "dim")]


def _summary(d: Diagnosis) -> Line:
    by = Counter[str](f.severity for f in d.findings)
    kinds = ", ".join(f"{by[kind]} {kind}" for kind in STYLES if by[kind])
    text = f"Found {counted(len(d.findings), 'finding')}" + (f" ({kinds})" if kinds else "") + "."
    fixes = sum(map(fixable, d.findings))
    return [(text, "bold"), (f" [*] {fixes} with a change of an option." if fixes else "", "cyan")]


def counted(n: int, noun: str) -> str:
    """`1 rule`, `2 rules`."""
    return f"{n} {noun}{'' if n == 1 else 's'}"


def short(d: Diagnosis) -> Line:
    """One line for a log among many: verdict, first cause, path."""
    style = VERDICTS[d.verdict]
    first = d.causes[0].id if d.causes else ""
    return [(f"{d.verdict:<19}  ", style), (f"{first:<21}  ", ""), (str(d.log.path), "bold")]


def totals(diagnoses: Sequence[Diagnosis]) -> Line:
    """How many logs got which verdict."""
    by = Counter[str](d.verdict for d in diagnoses)
    told = ", ".join(f"{by[v]} {v}" for v in VERDICTS if by[v])
    return [(f"{counted(len(diagnoses), 'log')}: {told}.", "bold")]
