"""The tables of a Markdown report: options, metrics with their uncertainty, glossary.

The expected range of a metric is what healthy runs showed (`pawl.metrics.healthy_runs`) and names
the run; where none recorded it, or where its scale is the task's own (rewards, lengths, losses),
none is known. Left out: the rest of the report (`report_markdown`).
"""

from __future__ import annotations

from collections.abc import Iterator

from pawl.config.options import RunConfig
from pawl.config.tree import leaves
from pawl.doctor.diagnose import Diagnosis
from pawl.doctor.markdown import escaped, listed, table
from pawl.logs.log import Series
from pawl.metrics import CATALOGUE, catalogued, healthy_runs
from pawl.rules.signals import Signals

MOST_OPTIONS, MOST_EVENTS = 60, 20
COMPARABLE = ("share", "ratio", "nat", "standard errors")  # units that mean the same in any run


def configuration(d: Diagnosis) -> Iterator[str]:
    """Options that are known, and what changed on the way or since the last report."""
    log = d.log
    rows = [
        [escaped(name), escaped(log.config_names.get(name, name)), escaped(value, 80)]
        for name, value in _chosen(d).items()
    ]
    rows += [["-", escaped(name), escaped(value, 80)] for name, value in log.other_config.items()]
    if not rows:
        yield "The log holds no options."
    else:
        if log.library == "pawl":
            yield "Options that differ from their defaults."
        yield table(["option of Pawl", "name in the source", "value"], rows[:MOST_OPTIONS])
        if len(rows) > MOST_OPTIONS:
            yield f"{len(rows) - MOST_OPTIONS} more options are not shown."
    yield "What changed:"
    changed = [f"since {d.before.report}: {x}" for x in d.before.changed] if d.before else []
    events: dict[tuple[str, str], list[float]] = {}
    for event in log.events:
        events.setdefault((event.kind, event.text), []).append(event.step)
    for (kind, text), steps in list(events.items())[-MOST_EVENTS:]:
        many = f" to {steps[-1]:.10g}, {len(steps)} times" if len(steps) > 1 else ""
        changed.append(f"step {steps[0]:.10g}{many}: {kind} {text}".rstrip())
    if len(events) > MOST_EVENTS:
        changed.append(f"{len(events) - MOST_EVENTS} earlier kinds of events are not shown")
    yield listed(changed or ["nothing that the log knows of"])


def _chosen(d: Diagnosis) -> dict[str, object]:
    """The options of a run; of Pawl's own only those that differ from the defaults."""
    if d.log.library != "pawl":
        return d.log.config
    plain = leaves(RunConfig())
    return {k: v for k, v in d.log.config.items() if str(plain.get(k, "unset")) != str(v)}


def metrics(d: Diagnosis) -> Iterator[str]:
    """Level, uncertainty, change and expected range of each known metric; then the sources."""
    s = Signals(d.log)
    named = [name for name in d.log.series if "/" in name and s.has(name)]  # no counters
    if not named:
        yield "The log holds no metric that is known."
        return
    yield (
        "*Now* is the mean of the last points (20, or a quarter of a shorter log) with its 95%\n"
        "interval; *change* compares the last quarter with the first."
    )
    head = ["metric", "unit", "start", "now", "change", "beyond noise", "expected", "from"]
    yield table(head, [_row(s, name) for name in named])
    yield "Where the values come from:"
    head = ["metric", "column", "values", "aggregation", "meaning taken"]
    yield table(head, [_source(d.log.series[name]) for name in named])
    if d.log.unknown:
        rest = ", ".join(escaped(name, 60) for name in list(d.log.unknown)[:MOST_OPTIONS])
        yield f"Columns without a known meaning: {rest}."


def _row(s: Signals, name: str) -> list[str]:
    now, start, t = s.late(name), s.early(name), s.trend(name)
    wide = f" ({now.low:.3g} to {now.high:.3g})" if now.n > 1 else " (one point)"
    change, told = "-", "too few points"
    if t.n >= 4:
        change = f"{t.difference:+.3g}"
        told = f"yes, {t.direction}" if t.significant else f"no (sees {t.detectable:.2g})"
    expected, source = expected_range(name)
    values = [f"{start.value:.3g}", f"{now.value:.3g}{wide}", change, told, expected]
    return [escaped(name), escaped(s.series(name).unit), *values, escaped(source)]


def expected_range(name: str) -> tuple[str, str]:
    """The extremes of a metric in healthy runs and which runs; ("none known", "") without."""
    rows = healthy_runs().get(name, ())
    if not rows or CATALOGUE[name].unit not in COMPARABLE:
        return "none known", ""
    low, high = min(row.low for row in rows), max(row.high for row in rows)
    more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
    return f"{low:.3g} to {high:.3g}", f"{rows[0].source}{more}"


def _source(series: Series) -> list[str]:
    column = [escaped(series.name), escaped(series.source, 80), str(len(series.finite()))]
    meaning = series.note or "as the table of this library says"
    return [*column, escaped(series.aggregation or "not stated"), escaped(meaning)]


def glossary(d: Diagnosis) -> Iterator[str]:
    """Formula, use and trap of each catalogued metric of the log, of a family once."""
    found = {known.name: known for known in map(catalogued, d.log.series) if known is not None}
    rows = []
    for name, known in found.items():
        facts = f"{known.formula}. {known.tells} Beware: {known.trap}"
        rows.append(f"- **{escaped(name)}**: {escaped(facts, 900)}")
    yield "\n".join(rows)
