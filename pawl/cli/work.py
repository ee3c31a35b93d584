"""Commands that do work: train, check, score, eval, sft, export.

Each reads its options and calls one function; imports stand inside, because `pawl --help` must
load neither torch nor numpy nor pydantic. Left out: commands that only read (`look`).
"""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path

import click

from pawl.cli.state import State, json_option, need_training
from pawl.errors import PawlError

SPLITS = ("held_out", "train")


@click.command(short_help="Train a model as a config says, or resume or fork a run.")
@click.argument("config", required=False)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--resume", metavar="RUN", help="Continue this run exactly where it stopped.")
@click.option(
    "--from", "source", metavar="RUN[@STEP]", help="Start as this run stood, options changed."
)
@click.option("--quiet", is_flag=True, help="Print the last line only.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per step on stdout.")
@click.pass_obj
def train(
    state: State,
    config: str | None,
    overrides: tuple[str, ...],
    resume: str | None,
    source: str | None,
    quiet: bool,
    as_json: bool,
) -> int:
    """Train as CONFIG says; options are overridden by section.option=value.

    With --from there is no CONFIG: the fork has the options of RUN, and what is overridden.
    """
    from pawl import api
    from pawl.cli.display import open_display

    need_training()
    if source is not None:
        _require_no_config(config, resume)
    if config is not None and "=" in config and (source or resume):
        overrides, config = (config, *overrides), None  # the first argument is no config then
    run, places = api.open_run(config, overrides, resume=resume, fork=source)
    state.run = run.path
    with run, open_display(quiet, as_json, places) as display:
        return int(api.train(run, display=display).exit_code)


def _require_no_config(config: str | None, resume: str | None) -> None:
    """With --from the first argument is an override as well."""
    if resume is not None:
        hint = "--from makes a new run, --resume goes on with one; use the one you mean"
        raise PawlError("--from and --resume exclude each other", "command line", hint)
    if config is not None and "=" not in config:
        hint = "a fork has the options of its run; change them with section.option=value"
        raise PawlError(f"--from takes no config (`{config}`)", "command line", hint)


@click.command(short_help="Check a config, or audit a problem set.")
@click.argument("target", metavar="CONFIG|PROBLEMS")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--price-per-hour",
    type=click.FloatRange(0),
    help="Of this machine, to estimate the run's cost.",
)
@json_option
def check(
    target: str, overrides: tuple[str, ...], price_per_hour: float | None, as_json: bool
) -> int:
    """Find out before training: config, data, reward, wiring, cost; or audit a problem set."""
    from pawl.cli.checking import check_config, check_problems

    if Path(target).suffix in (".yaml", ".yml"):
        need_training()
        return check_config(target, overrides, as_json, price_per_hour)
    return check_problems(target, overrides, as_json)


@click.command(short_help="Score completions of a problem set.")
@click.argument("completions", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--problems", required=True, help="Problem set: a file or a starter set's name.")
@click.option("--tier", help="Force a sandbox tier: bubblewrap, landlock or unsafe.")
@click.option("--allow-unsafe", is_flag=True, help="Run candidates with resource limits only.")
def score(
    completions: Path,
    overrides: tuple[str, ...],
    problems: str,
    tier: str | None,
    allow_unsafe: bool,
) -> int:
    """Score COMPLETIONS (JSONL with problem_id and completion); one JSON line each on stdout.

    Options of the sections reward and sandbox apply: reward=rewards/mine.py:score sandbox.cpu_s=2
    """
    from pawl.config.load import overridden
    from pawl.config.options import RunConfig
    from pawl.rewards.score_file import SECTIONS, score_file

    given = [f"sandbox.tier={tier}"] if tier else []
    given += ["sandbox.allow_unsafe=true"] if allow_unsafe else []
    cfg = overridden(RunConfig(), [*overrides, *given], sections=SECTIONS)
    out = partial(click.echo, file=sys.stdout)  # what a reward prints goes to standard error
    options = (cfg.reward, cfg.sandbox, cfg.problems)
    with redirect_stdout(sys.stderr):
        return score_file(problems, completions, out, *options)


@click.command(name="eval", short_help="Success of a model on held-out problems.")
@click.argument("model", metavar="MODEL|RUN")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--config", help="Config with problems, sampling and sandbox (default: the run's).")
@click.option("--split", type=click.Choice(SPLITS), default="held_out", show_default=True)
@click.option(
    "--pass-rates",
    type=click.Path(path_type=Path),
    help="Write the problems with their measured pass rates to this JSONL file.",
)
@json_option
def evaluate(
    model: str,
    overrides: tuple[str, ...],
    config: str | None,
    split: str,
    pass_rates: Path | None,
    as_json: bool,
) -> None:
    """Pass@1 and pass@k with intervals, the reward where no tests run.

    A base-capability test, or a run's checkpoint. MODEL is bundled, a model folder or hub name, a
    run as `pawl export` takes it, or `references` for the problems' own. Options of the sections
    problems, eval, rollout, reward, judge and sandbox apply: pawl eval bundled eval.samples=8
    """
    from pawl import api
    from pawl.cli.display import Notes

    need_training()
    report = api.evaluate(
        model,
        config,
        overrides=overrides,
        split=split,
        pass_rates=pass_rates,
        display=Notes(sys.stderr),
    )
    click.echo(json.dumps(report.as_dict(), indent=1) if as_json else report.text())


@click.command(short_help="Fine-tune on completions (warm start).")
@click.argument("config")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--quiet", is_flag=True, help="Print the last line only.")
def sft(config: str, overrides: tuple[str, ...], quiet: bool) -> None:
    """Fine-tune on completions as CONFIG says (warm start for RL)."""
    from pawl.config.load import load_sft, placed

    cfg, places = load_sft(config, overrides)
    need_training()
    from pawl.sft.run import run_sft

    with placed(places):
        folder = run_sft(cfg, lambda line: None if quiet else click.echo(line, err=True))
    click.echo(f"model written to {folder}")


@click.command(short_help="Write a run's model as a Hugging Face folder.")
@click.argument("source", metavar="SOURCE")
@click.argument("out", type=click.Path(path_type=Path))
def export(source: str, out: Path) -> None:
    """Write a model as a plain Hugging Face folder OUT, adapter merged.

    SOURCE is a run (its best checkpoint), RUN@STEP, RUN@STEP,STEP,... (the average of these
    checkpoints), an adapter folder or a model folder.
    """
    need_training()
    from pawl.models.export import export as export_model

    click.echo(f"model written to {export_model(source, out)}")


COMMANDS = (train, check, score, evaluate, sft, export)
