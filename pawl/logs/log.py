"""A training log of any library as canonical series: what the doctor reads.

Readers fill a `Raw`: the table as the file has it, and what is known of its source. `canonical`
gives each column its canonical name, unit, aggregation and version-dependent meaning by the tables
of `names_LIBRARY.toml`, which cite where it was read. Columns without a meaning are kept under
their own names. Left out: judging (`pawl.doctor`).
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from pawl.logs.names import STEP_FORMS, add_derived, library_of, names_of, own_name, plain
from pawl.logs.table import Event, Floats, Places, Raw, Row, in_order, last_of_each
from pawl.metrics import catalogued

__all__ = ["Event", "Log", "Raw", "Series", "applies", "canonical", "option_name"]
STEPS = ("step", "_step", "global_step", "train/global_step", "current_steps", "training_step")


@dataclass(frozen=True, slots=True)
class Series:
    """One metric over a log: value_N as logged (nan and inf stay) in the rows row_N.

    source: its name in the file; aggregation: what one value is taken over; note: which version's
    meaning was taken, and why.
    """

    name: str
    source: str
    row_N: Places
    value_N: Floats
    unit: str = "1"
    aggregation: str = ""
    note: str = ""

    def finite(self) -> Floats:
        """The values that are numbers."""
        return self.value_N[np.isfinite(self.value_N)]


@dataclass(slots=True)
class Log:
    """A log in canonical terms; what is not said here is as in `Raw`.

    config: under Pawl's names; step_N: the step of every row, as the file numbers them; unknown:
    columns without a canonical meaning, by source name; config_names: options as the source has
    them; other_config: those without a counterpart; defaults: the options in config that the
    source does not state, so that the library's default of that version was taken.
    """

    path: Path
    format: str
    library: str
    step_N: Floats
    series: dict[str, Series]
    unknown: dict[str, Series] = field(default_factory=dict)
    version: str = ""
    kind: str = ""
    config: Row = field(default_factory=dict)
    config_names: dict[str, str] = field(default_factory=dict)
    other_config: Row = field(default_factory=dict)
    defaults: tuple[str, ...] = ()
    events: list[Event] = field(default_factory=list)
    checks: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    samples: tuple[Row, ...] = ()
    first_samples: tuple[Row, ...] = ()


@cache
def _names(library: str) -> dict[str, Any]:
    """Rows and options of a library, then those of no library."""
    own: dict[str, Any] = {"metric": [], "option": {}}
    for name in dict.fromkeys((library, "any")):
        table = names_of(name)
        default = {"aggregation": table.get("aggregation", "")}
        own["metric"] += [default | row for row in table.get("metric", [])]
        own["option"] = table.get("option", {}) | own["option"]
    return own


def canonical(raw: Raw) -> Log:
    """The log behind a raw table; rows in the order of their steps."""
    notes = list(raw.notes)
    if raw.table.dropped:
        notes.append("the file has too many columns; the first 2000 were read")
    if raw.library == "any":
        raw.library = library_of(raw.table.columns)
        if raw.library != "any":
            notes.append(f"the column names are those of {raw.library}")
    add_derived(raw.table, raw.library)
    steps, step_name = _steps(raw)
    distinct, place, odd = in_order(steps)
    notes += [odd] if odd else []
    lost = 0
    found: dict[str, Series] = {}
    unknown: dict[str, Series] = {}
    rows = _names(raw.library)["metric"]
    present = {own_name(raw.library, name) for name in raw.table.columns}
    meanings = {
        name: _meaning(name, rows, raw, present) for name in raw.table.columns if name != step_name
    }
    rank = {id(row): i for i, row in enumerate(rows)}  # a row that stands first wins its name
    for source in sorted(meanings, key=lambda source: rank.get(id(meanings[source][1]), -1)):
        read_N, value_N = raw.table.column(source)
        row_N, value_N = last_of_each(place[read_N], value_N)
        lost += len(read_N) - len(row_N)
        name, row = meanings[source]
        note, row = str(row.get("note", "")), row if name else {}
        scale, offset = float(row.get("scale", 1.0)), float(row.get("offset", 0.0))
        if (scale, offset) != (1.0, 0.0):
            value_N = value_N * scale + offset
        known = catalogued(name)
        unit = str(row.get("unit", known.unit if known else "1"))
        over = str(row.get("aggregation", ""))
        series = Series(name or source, source, row_N, value_N, unit, over, note)
        if not name or name in found:  # of two columns of one meaning one counts
            unknown[source] = series
        else:
            found[name] = series
    if lost:
        notes.append(f"{lost} values of repeated steps were replaced by later ones")
    config, names, other, defaults = _config(raw)
    return Log(
        path=raw.path,
        format=raw.format,
        library=raw.library,
        version=raw.version,
        kind=raw.kind or _kind(found),
        config=config,
        events=raw.events,
        checks=raw.checks,
        notes=notes,
        samples=raw.samples,
        first_samples=raw.first_samples,
        step_N=distinct,
        series=found,
        unknown=unknown,
        config_names=names,
        other_config=other,
        defaults=defaults,
    )


def _steps(raw: Raw) -> tuple[Floats, str]:
    """The step of every row, and the column that gave it ("" for the row's own number).

    A file without a step that has an epoch of its own for every row is ordered by it.
    """
    table = raw.table
    mapped = [source for source, name in raw.names.items() if name == "step"]
    loose = table.columns if _is_loose(raw.library) else ()
    for name in (*mapped, *STEPS, *(name for name in loose if plain(name) in STEP_FORMS)):
        if name in table.columns and len(table.columns[name][0]) * 2 >= table.n:
            return table.full(name), name
    for source in table.columns:
        row_N, value_N = table.column(source)
        if plain(source) == "epoch" and len(np.unique(value_N)) == table.n:
            return value_N, ""
    return np.arange(1, table.n + 1, dtype=np.float64), ""


def _is_loose(library: str) -> bool:
    """Whether columns are taken by plain spelling: no library says what they are called."""
    return library == "any" or not names_of(library)


def _meaning(
    source: str, rows: Sequence[Mapping[str, Any]], raw: Raw, present: set[str]
) -> tuple[str, Mapping[str, Any]]:
    """Canonical name of a column, "" when it has none, and the table's row that says so."""
    if source in raw.names:
        return raw.names[source], {"note": "your column map"}
    own = source.removeprefix("host/")
    if _is_loose(raw.library) and catalogued(own):
        return own, {}
    spelled = own_name(raw.library, source)
    for row in rows:
        hit = _match(spelled, row)
        if hit is not None and applies(row, raw, present):
            return str(row["name"]).replace("*", hit), row
    if _is_loose(raw.library):
        for row in rows:
            same = any(plain(name) == plain(source) for name in row["source"])
            if same and applies(row, raw, present):
                return str(row["name"]), row
    return "", {}


def _match(source: str, row: Mapping[str, Any]) -> str | None:
    """What the star of a row's pattern stands for in a source name; None when it does not fit."""
    for pattern in row["source"]:
        if "*" not in pattern:
            if pattern == source:
                return ""
        elif fnmatch.fnmatchcase(source, pattern):
            start, end = pattern.split("*", 1)
            return source[len(start) : len(source) - len(end)]
    return None


def applies(row: Mapping[str, Any], raw: Raw, present: Collection[str]) -> bool:
    """Whether a row's conditions on version, other columns and config hold."""
    since, until = number_of(str(row.get("since", ""))), number_of(str(row.get("until", "")))
    version = number_of(raw.version)
    if (version or number_of(raw.at_least)) < since:
        return False
    if until and not (version < until if version else () < number_of(raw.below) <= until):
        return False
    if any(name not in present for name in row.get("with", ())):
        return False
    if any(name in present for name in row.get("without", ())):
        return False
    wanted: Mapping[str, Sequence[str]] = row.get("config", {})
    if any(str(raw.config.get(name)) not in values for name, values in wanted.items()):
        return False
    near = row.get("near", ())
    return not near or any(word in name.lower() for name in present for word in near)


def number_of(version: str) -> tuple[int, ...]:
    """A version as numbers to compare: "1.16.0rc1" is (1, 16, 0)."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _config(raw: Raw) -> tuple[Row, dict[str, str], Row, tuple[str, ...]]:
    """Options under Pawl's names, the names they have in the source, the rest, and what is assumed.

    Assumed are the library's defaults where the source states nothing.
    """
    if raw.library == "pawl":
        return dict(raw.config), {name: name for name in raw.config}, {}, ()
    table = _names(raw.library)["option"]
    config, names, other = Row(), dict[str, str](), Row()
    spelled = table.items() if _is_loose(raw.library) else ()
    loose = {plain(source): name for source, name in spelled}
    for source, value in raw.config.items():
        name = table.get(source) or loose.get(plain(source.rsplit(".", 1)[-1]))
        if name and name not in config:
            config[name], names[name] = value, source
        else:
            other[source] = value
    options = ((table.get(source), source) for source in raw.defaults)
    assumed = {name: source for name, source in options if name and name not in config}
    config |= {name: raw.defaults[source] for name, source in assumed.items()}
    return config, names | assumed, other, tuple(assumed)


def option_name(library: str, name: str) -> str:
    """What the library calls an option of Pawl; "" when it has no such option."""
    if library in ("pawl", ""):
        return name
    options = names_of(library).get("option", {})
    return next((source for source, own in options.items() if own == name), "")


def _kind(found: Mapping[str, Series]) -> str:
    if "reward/mean" in found:
        return "policy"
    pairs = {"preference/accuracy", "preference/margin", "eval/preference_accuracy"}
    if pairs & set(found):
        known = {"preference/chosen_logp", "preference/chosen_reward"}
        return "preference" if known & set(found) or "loss/total" in found else "reward-model"
    return ""
