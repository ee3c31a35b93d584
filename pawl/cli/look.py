"""Commands that only read: doctor, samples, runs, diff, explain, schema.

Each takes --json; imports stand inside (see `work`). Left out: how to choose and compare
(`pawl.store`), how text is made safe for a terminal (`show`).
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from pawl.cli.state import LEVELS, json_option

HEAD = ["run", "state", "step", "reward", "success first", "last", "model", "problems", "created"]


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
def doctor(paths: tuple[str, ...], **options: Any) -> int:
    """Verdict, findings, causes, help and forecast for the logs behind each PATH.

    PATH is a log, a folder of logs, a run folder, or the name of a run in runs/.
    """
    from pawl.cli.doctor import Ask
    from pawl.cli.doctor import doctor as diagnose

    return diagnose(paths, Ask(**options))


@click.command(short_help="Completions of a run, with their scores.")
@click.argument("run")
@click.option("--step", type=int, help="Only this step.")
@click.option("--problem", help="Only this problem id.")
@click.option("--stage", help="Only this stage, verdict or branch (types, wrong, pass, ...).")
@click.option("--best", type=click.IntRange(1), metavar="N", help="The N highest totals.")
@click.option("--worst", type=click.IntRange(1), metavar="N", help="The N lowest totals.")
@click.option("--failures", is_flag=True, help="Group failures by stage, message, difficulty.")
@click.option("--eval", "held_out", is_flag=True, help="Held-out samples, not training's.")
@click.option("--limit", type=click.IntRange(0), default=10, help="Show this many; 0 shows all.")
@json_option
def samples(
    run: str,
    step: int | None,
    problem: str | None,
    stage: str | None,
    best: int | None,
    worst: int | None,
    failures: bool,
    held_out: bool,
    limit: int,
    as_json: bool,
) -> None:
    """Completions of RUN with prompt, reward breakdown and advantage."""
    from pawl.cli.sample_text import failure_lines, sample_lines
    from pawl.store import samples as choose
    from pawl.store.read import find_run, read_samples

    rows = choose.matching(
        read_samples(find_run(run), step, "eval" if held_out else "step"), problem, stage
    )
    if failures:
        groups = choose.failures(rows)
        _tell(as_json, list(map(asdict, groups)), failure_lines(groups, len(rows), limit))
        return
    if best is not None or worst is not None:
        rows = choose.ranked(rows, best or worst or 0, best is not None)
        limit = 0
    for line in map(json.dumps, rows) if as_json else sample_lines(rows, limit):
        click.echo(line)


@click.command(short_help="List the runs of a folder.")
@click.argument("folder", default="runs", type=click.Path(path_type=Path))
@json_option
def runs(folder: Path, as_json: bool) -> None:
    """The runs in FOLDER (default: runs), newest first."""
    from pawl.cli.show import columns
    from pawl.store.read import list_runs

    found = list_runs(folder)
    rows = [
        [
            f"{run.name} (from {run.parent})" if run.parent else run.name,
            run.state,
            "-" if run.step is None else str(run.step),
            *map(_figure, (run.reward, run.success_first, run.success_last)),
            run.model,
            run.problems,
            run.created,
        ]
        for run in found
    ]
    _tell(as_json, list(map(asdict, found)), columns(HEAD, rows))


@click.command(short_help="Compare two runs.")
@click.argument("a")
@click.argument("b")
@json_option
def diff(a: str, b: str, as_json: bool) -> None:
    """Compare runs A and B: options, versions, metrics with intervals, first divergence."""
    from pawl.cli.diff_text import diff_lines
    from pawl.store.compare import compare
    from pawl.store.read import find_run

    result = compare(find_run(a), find_run(b))
    _tell(as_json, asdict(result), diff_lines(result))


@click.command(short_help="What a metric, rule, cause or check means; alone: all names.")
@click.argument("name", required=False, metavar="[NAME]")
@json_option
def explain(name: str | None, as_json: bool) -> None:
    """What a metric, a rule, a cause or a check is, what it tells and what it does not.

    NAME is a canonical metric (policy/entropy), a rule's code or name (D401), a cause
    (lr-too-high) or a check of the preflight (first-pass-ratio). Without it all names are listed.
    """
    from pawl.cli.explain import everything, explanation
    from pawl.cli.show import printable

    text, body = everything() if name is None else explanation(name)
    _tell(as_json, body, [printable(line, sys.stdout.encoding) for line in text])


@click.command(short_help="JSON Schema of the config file.")
@click.option("--sft", is_flag=True, help="The schema of `pawl sft` configs.")
def schema(sft: bool) -> None:
    """JSON Schema of the config file, for completion and checks in editors."""
    from pawl.config.options import RunConfig, SftConfig
    from pawl.config.schema import json_schema

    _tell(True, json_schema(SftConfig if sft else RunConfig), [])


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _tell(as_json: bool, body: object, lines: list[str]) -> None:
    """For programs the body, for a person the lines."""
    click.echo(json.dumps(body, indent=1) if as_json else "\n".join(lines))


COMMANDS = (doctor, samples, runs, diff, explain, schema)
