"""`pawl doctor`: read logs, diagnose them, print or write the reports, answer by exit code.

Left out: the command's options (`look`), what is found (`pawl.doctor`), formats (`pawl.logs`), the
HTML page (`pawl.dash`), waiting (`watch`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import click

from pawl.cli.explain import find
from pawl.cli.show import print_styled, printable
from pawl.cli.state import LEVELS
from pawl.cli.watch import watched
from pawl.dash.export import write_html
from pawl.doctor import claims, report_json, report_markdown
from pawl.doctor.criteria import Before, before, kept, since
from pawl.doctor.diagnose import Diagnosis, diagnose
from pawl.doctor.forecast import Target
from pawl.doctor.report_text import counted, short, styled, totals
from pawl.errors import Exit, PawlError, near_file
from pawl.logs.log import Log
from pawl.logs.recognise import column_map, search
from pawl.store.files import write_atomic
from pawl.store.read import find_run

REPORT = "report.json"  # the earlier report in a run folder


@dataclass(slots=True)
class Ask:
    """What the command line asks; names, aim and first are filled in here.

    names: what columns mean; first: diagnoses of this call, by the log's path.
    """

    as_json: bool
    report: Path | None
    html: Path | None
    fail_on: str
    mapped: Sequence[str]
    target: str | None
    against: Path | None
    check: Path | None
    watch: bool
    every: float
    looks: int | None
    verbose: bool
    names: Mapping[str, str] = field(default_factory=dict)
    aim: Target | None = None
    first: dict[str, Diagnosis] = field(default_factory=dict)


def doctor(paths: Sequence[str], ask: Ask) -> int:
    """Exit code of `pawl doctor PATH...`."""
    if ask.report is not None and ask.report.suffix == ".json":
        raise PawlError("--report takes the Markdown file; its .json is written beside it")
    found = [_located(path) for path in paths]
    ask.names, ask.aim = column_map(ask.mapped), _target(ask.target)

    def look() -> list[Diagnosis]:
        return [d for path in found for d in diagnosed(path, ask)]

    looks = ask.looks if ask.watch else 1
    last = watched(found, look, partial(_tell, ask), ask.every, looks)
    return int(Exit.FINDINGS if any(counts(d, ask.fail_on) for d in last) else Exit.OK)


def _tell(ask: Ask, diagnoses: Sequence[Diagnosis]) -> None:
    """Write the files that were asked for; print the report of one log, or a line for each."""
    if ask.watch and sys.stdout.isatty():
        click.clear()
    answers = None if ask.check is None else _answers(ask.check, diagnoses)
    if ask.report is not None:
        write_atomic(ask.report, "\n".join(map(report_markdown.page, diagnoses)))
        write_atomic(ask.report.with_suffix(".json"), report_json.text(diagnoses) + "\n")
    if ask.html is not None:
        write_html(diagnoses, ask.html)
    if ask.as_json:
        click.echo(report_json.text(diagnoses, answers))
        return
    if len(diagnoses) == 1:
        print_styled(styled(diagnoses[0], ask.verbose))
    else:
        print_styled([*map(short, diagnoses), totals(diagnoses)])
    if answers is not None:
        print_styled([[("", "")], [("claims of ", "bold"), (f"{ask.check}:", "")]])
        print_styled([[(line, "")] for line in claims.lines(answers)])


def counts(d: Diagnosis, fail_on: str) -> bool:
    """Whether a diagnosis fails the command: FAULT and INVALID RUN always, CANNOT TELL never."""
    if d.verdict in ("FAULT", "INVALID RUN"):
        return True
    if d.verdict == "CANNOT TELL" or fail_on == "never":
        return False
    severities = LEVELS[: LEVELS.index(fail_on) + 1]
    return any(f.severity in severities for f in d.findings)


def diagnosed(path: Path, ask: Ask) -> Iterator[Diagnosis]:
    """Each log behind a path, with what became of an earlier report's criteria."""
    found = search(path, ask.names)
    logs = found.logs
    if found.skipped and not ask.verbose:
        _warn(f"{counted(len(found.skipped), 'file')} could not be read as logs (--verbose)")
    for skipped, why in found.skipped if ask.verbose else ():
        _warn(f"{skipped}: no log: {why}")
    if ask.against is not None and len(logs) != 1:
        hint = "give --against together with the path of one log"
        raise PawlError(f"an earlier report is about one log, not {len(logs)}", str(path), hint)
    for log in logs:
        d = diagnose(log, ask.aim)
        if ask.aim is not None and ask.aim.metric not in log.series:
            _warn(f"{log.path}: no values of {ask.aim.metric}, so no chance of reaching it")
        past = _past(path, log, ask) if len(logs) == 1 else None
        if past is not None:
            d = replace(d, before=past, criteria=kept(d.criteria, past.criteria))
        ask.first.setdefault(str(log.path), d)
        yield d


def _past(path: Path, log: Log, ask: Ask) -> Before | None:
    """What was said before: by this watch, the report that was given, or that in the run folder."""
    first = ask.first.get(str(log.path))
    if first is not None:
        return since("the first look", first.verdict, first.criteria, first.log.config, log)
    if ask.against is not None:
        return before(ask.against, log)
    own = path / REPORT
    if not own.is_file():
        return None
    try:
        return before(own, log)
    except PawlError as e:  # nobody asked for it
        _warn(f"{own} was not used: {e.what}")
        return None


def _warn(text: str) -> None:
    click.echo(printable(text, sys.stderr.encoding), err=True)


def _located(name: str) -> Path:
    """A path as given, or the run of that name; raises PawlError with the nearest name."""
    for path in (Path(name), Path("runs") / name):
        if name == "-" or path.exists():  # "-" is standard input
            return path
    if os.sep in name or Path(name).suffix:
        raise PawlError("no such file or folder", name, near_file(Path(name)))
    return find_run(name)


def _target(text: str | None) -> Target | None:
    """--target METRIC=VALUE[@STEP]; raises PawlError."""
    if text is None:
        return None
    name, _, rest = text.partition("=")
    value, _, step = rest.partition("@")
    find(name)
    try:
        return Target(name, float(value), float(step) if step else None)
    except ValueError:
        hint = "--target reward/mean=0.8@500"
        raise PawlError(f"--target takes METRIC=VALUE[@STEP], not {text}", "", hint) from None


def _answers(check: Path, diagnoses: Sequence[Diagnosis]) -> list[claims.Answer]:
    """What the run says of the claims in an analysis."""
    if len(diagnoses) != 1:
        raise PawlError("an analysis is about one log", str(check), "give the path of one log")
    try:
        text = check.read_text(encoding="utf-8", errors="replace")
    except OSError as e:
        raise PawlError(f"cannot be read ({e.strerror})", str(check)) from e
    return claims.check(text, diagnoses[0])
