"""`pawl doctor`: read logs, diagnose them, print or write the reports, answer by exit code.

Imports stand inside, because `pawl --help` must load nothing heavy. Left out: what is found
(`pawl.doctor`), formats (`pawl.store`), the HTML page (`pawl.dash`), waiting (`watch`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pawl.cli.state import debug_option, json_option
from pawl.errors import Exit, PawlError

if TYPE_CHECKING:
    from pawl.doctor.claims import Answer
    from pawl.doctor.criteria import Before
    from pawl.doctor.diagnose import Diagnosis
    from pawl.doctor.forecast import Target
    from pawl.logs.log import Log

LEVELS = ("critical", "warning", "info", "never")
REPORT = "report.json"  # the earlier report in a run folder


@dataclass(frozen=True, slots=True)
class Ask:
    """What the command line asks of every diagnosis."""

    names: Mapping[str, str]
    target: Target | None
    against: Path | None
    verbose: bool = False
    first: dict[str, Diagnosis] = field(default_factory=dict)  # of this call, by the log's path


@click.command(short_help="Diagnose a training log, of Pawl or of another library.")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@json_option
@click.option("--report", type=click.Path(path_type=Path), help="Write FILE.md and FILE.json too.")
@click.option("--html", type=click.Path(path_type=Path), help="Write one HTML file with charts.")
@click.option("--fail-on", type=click.Choice(LEVELS), default="critical", show_default=True)
@click.option("--map", "mapped", multiple=True, metavar="SOURCE=NAME", help="What a column means.")
@click.option("--target", metavar="METRIC=VALUE[@STEP]", help="Give the chance of reaching it.")
@click.option("--against", type=click.Path(path_type=Path), help="Answer an earlier report.")
@click.option("--check", type=click.Path(path_type=Path), help="Check an analysis's figures.")
@click.option("--watch", is_flag=True, help="Look again when the log grows; Ctrl-C ends it.")
@click.option("--every", type=click.FloatRange(0.01), default=10.0, help="Seconds between looks.")
@click.option("--looks", type=click.IntRange(1), hidden=True, help="End --watch after so many.")
@click.option("--verbose", is_flag=True, help="All causes, and every rule not checked.")
@debug_option
def doctor(
    paths: tuple[str, ...],
    as_json: bool,
    report: Path | None,
    html: Path | None,
    fail_on: str,
    mapped: tuple[str, ...],
    target: str | None,
    against: Path | None,
    check: Path | None,
    watch: bool,
    every: float,
    looks: int | None,
    verbose: bool,
) -> int:
    """Verdict, findings, causes, help and forecast for the logs behind each PATH.

    PATH is a log, a folder of logs, a run folder, or the name of a run in runs/.
    """
    if report is not None and report.suffix == ".json":
        raise PawlError("--report takes the Markdown file; its .json is written beside it")
    found = [_located(path) for path in paths]
    from pawl.logs.recognise import column_map

    ask = Ask(column_map(mapped), _target(target), against, verbose)

    def look() -> list[Diagnosis]:
        return [d for path in found for d in diagnosed(path, ask)]

    def tell(diagnoses: Sequence[Diagnosis]) -> None:
        if watch and sys.stdout.isatty():
            click.clear()
        answers = _answers(check, diagnoses) if check is not None else None
        _write(diagnoses, report, html)
        if as_json:
            from pawl.doctor.report_json import text

            click.echo(text(diagnoses, answers))
        else:
            _show(diagnoses, verbose)
            _claims(check, answers or ())

    if watch:
        from pawl.cli.watch import watched

        last = watched(found, look, tell, every, looks)
    else:
        tell(last := look())
    return int(Exit.FINDINGS if any(counts(d, fail_on) for d in last) else Exit.OK)


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
    from pawl.cli.show import printable
    from pawl.doctor.criteria import kept
    from pawl.doctor.diagnose import diagnose
    from pawl.logs.recognise import search

    found = search(path, ask.names)
    logs = found.logs
    _mention(found.skipped, ask.verbose)
    if ask.against is not None and len(logs) != 1:
        hint = "give --against together with the path of one log"
        raise PawlError(f"an earlier report is about one log, not {len(logs)}", str(path), hint)
    for log in logs:
        d = diagnose(log, ask.target)
        if ask.target is not None and ask.target.metric not in log.series:
            text = f"{log.path}: no values of {ask.target.metric}, so no chance of reaching it"
            click.echo(printable(text, sys.stderr.encoding), err=True)
        past = _past(path, log, ask) if len(logs) == 1 else None
        if past is not None:
            d = replace(d, before=past, criteria=kept(d.criteria, past.answers))
        ask.first.setdefault(str(log.path), d)
        yield d


def _past(path: Path, log: Log, ask: Ask) -> Before | None:
    """What was said before: by this watch, the report that was given, or that in the run folder."""
    from pawl.doctor.criteria import before, since

    first = ask.first.get(str(log.path))
    if first is not None:
        was = first.log.config
        return since("the first look", first.verdict, first.criteria, was, log)
    if ask.against is not None:
        return before(ask.against, log)
    own = path / REPORT
    if not path.is_dir() or not own.is_file():
        return None
    try:
        return before(own, log)
    except PawlError as e:  # nobody asked for it
        click.echo(f"{own} was not used: {e.what}", err=True)
        return None


def _mention(skipped: Sequence[tuple[Path, str]], verbose: bool) -> None:
    """Say on standard error which files of a folder were no logs."""
    from pawl.cli.show import printable
    from pawl.doctor.report_text import counted

    if skipped and not verbose:
        click.echo(
            f"{counted(len(skipped), 'file')} could not be read as logs (--verbose)", err=True
        )
    for path, why in skipped if verbose else ():
        click.echo(printable(f"{path}: no log: {why}", sys.stderr.encoding), err=True)


def _located(name: str) -> Path:
    """A path as given, or the run of that name; raises PawlError with the nearest name."""
    for path in (Path(name), Path("runs") / name):
        if name == "-" or path.exists():  # "-" is standard input
            return path
    if os.sep in name or Path(name).suffix:
        raise PawlError("no such file or folder", name)
    from pawl.store.read import find_run

    return find_run(name)


def _target(text: str | None) -> Target | None:
    """--target METRIC=VALUE[@STEP]; raises PawlError."""
    if text is None:
        return None
    from pawl.cli.explain import find
    from pawl.doctor.forecast import Target

    name, _, rest = text.partition("=")
    value, _, step = rest.partition("@")
    find(name)
    try:
        return Target(name, float(value), float(step) if step else None)
    except ValueError:
        hint = "--target reward/mean=0.8@500"
        raise PawlError(f"--target takes METRIC=VALUE[@STEP], not {text}", "", hint) from None


def _write(diagnoses: Sequence[Diagnosis], report: Path | None, html: Path | None) -> None:
    """The files that were asked for."""
    if report is not None:
        from pawl.doctor.report_json import text
        from pawl.doctor.report_markdown import page
        from pawl.store.files import write_atomic

        write_atomic(report, "\n".join(page(d) for d in diagnoses))
        write_atomic(report.with_suffix(".json"), text(diagnoses) + "\n")
    if html is not None:
        from pawl.dash.export import write_html

        write_html(diagnoses, html)


def _show(diagnoses: Sequence[Diagnosis], verbose: bool) -> None:
    """The report of one log, or a line for each of several."""
    from pawl.cli.show import print_styled
    from pawl.doctor.report_text import short, styled, totals

    if len(diagnoses) == 1:
        print_styled(styled(diagnoses[0], verbose))
    else:
        print_styled([*(short(d) for d in diagnoses), totals(diagnoses)])


def _answers(check: Path, diagnoses: Sequence[Diagnosis]) -> list[Answer]:
    """What the run says of the claims in an analysis."""
    from pawl.doctor import claims

    if len(diagnoses) != 1:
        raise PawlError("an analysis is about one log", str(check), "give the path of one log")
    try:
        text = check.read_text(encoding="utf-8", errors="replace")
    except OSError as e:
        raise PawlError(f"cannot be read ({e.strerror})", str(check)) from e
    return claims.check(text, diagnoses[0])


def _claims(check: Path | None, answers: Sequence[Answer]) -> None:
    """The claims of an analysis with their answers, below the report."""
    if check is not None:
        from pawl.cli.show import print_styled
        from pawl.doctor.claims import lines

        print_styled([[("", "")], [("claims of ", "bold"), (f"{check}:", "")]])
        print_styled([[(line, "")] for line in lines(answers)])


COMMANDS = (doctor,)
