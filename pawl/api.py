"""Pawl as Python functions: train, check, evaluate, score, diagnose, read_logs.

What the commands of the same names call. A config is a `RunConfig`, a path, or a mapping of
options; `overrides` are strings as on the command line ("optim.lr=1e-5"); a reward may be a
callable, which then runs in this process. A user's mistake raises PawlError. `import pawl` loads
this file when a function is asked for, and torch when one needs it. Left out: terminals
(`pawl.cli`).

Use: `import pawl; result = pawl.train("run.yaml", overrides=["train.steps=20"])`.
"""

from __future__ import annotations

import itertools
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pawl.config.load import from_mapping, load_run, overridden, placed
from pawl.config.options import RunConfig
from pawl.errors import PawlError
from pawl.store.display import Display, Silent
from pawl.store.files import dumps
from pawl.store.manifest import require_same
from pawl.store.read import find_run, is_run, places_of, require_sealed, run_and_steps, saved_config
from pawl.store.run import RunFolder
from pawl.store.warned import library_warnings
from pawl.types import Score

if TYPE_CHECKING:
    from pawl.doctor.diagnose import Diagnosis
    from pawl.doctor.forecast import Target
    from pawl.logs.log import Log
    from pawl.preflight.rehearse import Rehearsal
    from pawl.rewards.audit import AuditReport
    from pawl.train.eval_model import EvalReport
    from pawl.train.progress import TrainResult

Config = RunConfig | str | Path | Mapping[str, object]
Reward = Callable[..., object]
CALLABLE = "callable"  # `reward.use` of a run whose reward was handed in: callable:NAME
NOT_A_NAME = re.compile(r"[^a-z0-9_]+")


def train(
    config: Config | RunFolder | None = None,
    *,
    reward: Reward | None = None,
    overrides: Sequence[str] = (),
    resume: str | Path | None = None,
    fork: str | None = None,
    display: Display | None = None,
) -> TrainResult:
    """Train as a config says; the result names exit code, run folder, records and checkpoints.

    reward: a callable (problem, completions) -> values, in place of `reward.use`. resume: a run to
    continue. fork: RUN or RUN@STEP to start from, with `overrides`. config: one of these three, or
    a `RunFolder` that is open already. Raises PawlError for mistakes and for a run that stops.
    """
    from pawl.preflight.prove import prove
    from pawl.train.loop import train as train_loop

    if not isinstance(config, RunFolder):
        run, _ = open_run(config, overrides, resume=resume, fork=fork, reward=reward)
        with run:
            return train(run, reward=reward, display=display)
    shown = display or Silent()
    with library_warnings(config), placed(places_of(config.path)):
        result = train_loop(config.config(), config, shown, config.resumed, prove, reward)
        shown.close(result.summary)
        return result


def open_run(
    config: Config | None,
    overrides: Sequence[str] = (),
    *,
    resume: str | Path | None = None,
    fork: str | None = None,
    reward: Reward | None = None,
) -> tuple[RunFolder, dict[str, str]]:
    """The run folder that `train` works in, and where each of its options was set."""
    if sum(x is not None for x in (config, fork)) > 1 or (fork and resume):
        what = "a run begins from a config, as a fork, or by a resume: give one of them"
        raise PawlError(what, hint="a fork has the options of its run; change them by overrides")
    if fork is not None:
        from pawl.train.fork import open_fork

        return open_fork(fork, overrides)
    if resume is None:
        if config is None:
            raise PawlError("no config given", hint="pawl train CONFIG, or pawl train --resume RUN")
        cfg, places = resolved(config, overrides, reward)
        return RunFolder.create(cfg, places), places
    run = RunFolder.open(find_run(str(resume)))
    try:
        if overrides and config is None:
            other = f"pawl train --from {run.path} {overrides[0]}"
            hint = f"resume keeps the config; for another one: {other}"
            raise PawlError("options cannot change on resume", f"`{overrides[0]}`", hint)
        if config is not None:
            require_same(run.path, run.config(), resolved(config, overrides, reward)[0])
    except PawlError:
        run.close()
        raise
    return run, places_of(run.path)


def check(
    target: Config,
    *,
    reward: Reward | None = None,
    overrides: Sequence[str] = (),
    price_per_hour: float | None = None,
    display: Display | None = None,
) -> Rehearsal | AuditReport:
    """What `pawl check` finds: a config rehearsed in a throw-away folder, or a problem set audited.

    target: a config, or the name of a problem set (a file that is no YAML, a starter set, a hub
    data set). A config that would be refused has `refusal` set; nothing is raised for it.
    """
    shown = display or Silent()
    if isinstance(target, str | Path) and Path(target).suffix not in (".yaml", ".yml"):
        from pawl.rewards.audit import check_problems

        cfg = overridden(RunConfig(), overrides, sections=("sandbox", "problems"))
        return check_problems(str(target), cfg.problems.lang, cfg, shown.note)
    cfg, places = resolved(target, overrides, reward)
    from pawl.preflight.rehearse import rehearse  # torch, which a wrong config does not wait for

    with tempfile.TemporaryDirectory(prefix="pawl-check-") as folder:
        shortened = cfg.model_copy(update={"runs_dir": folder})
        made = RunFolder.create(shortened, places)
        with made as run, library_warnings(run), placed(places):
            planned = Path(cfg.runs_dir).absolute()
            run.disk = next(path for path in (planned, *planned.parents) if path.is_dir())
            return rehearse(shortened, run, shown, price_per_hour, reward)


def evaluate(
    model: str | Path,
    config: Config | None = None,
    *,
    reward: Reward | None = None,
    overrides: Sequence[str] = (),
    split: str = "held_out",
    pass_rates: Path | None = None,
    display: Display | None = None,
) -> EvalReport:
    """Success of a model, a run's best checkpoint or RUN@STEP on a problem set, with intervals.

    config: of problems, sampling and reward; without one the run's own, else the defaults. split:
    held_out or train. pass_rates: a JSONL file to write measured pass rates to.
    """
    given: Sequence[str] = ()
    if config is None:
        run, _ = run_and_steps(str(model))
        if is_run(run):
            require_sealed(run)
        base = saved_config(run) if is_run(run) else RunConfig()
        config, overrides, given = overridden(base, overrides), (), overrides
    cfg, places = resolved(config, overrides, reward)
    places |= {text.partition("=")[0]: "command line" for text in given}
    from pawl.train.eval_model import evaluate_model

    with placed(places):
        return evaluate_model(str(model), cfg, split, display or Silent(), pass_rates, reward)


def score(
    problems: str | Path,
    completions: str | Path | Iterable[Mapping[str, object]],
    *,
    reward: Reward | str | None = None,
    overrides: Sequence[str] = (),
) -> list[Score]:
    """The scores of completions, in order.

    completions: a JSONL file, or mappings with problem_id and completion (and finish, n_tokens).
    reward: as `reward.use`, or a callable; the code reward when not given. overrides: of the
    sections reward, sandbox and problems.
    """
    from pawl.rewards.score_file import SECTIONS, score_lines

    cfg = overridden(RunConfig(), overrides, sections=SECTIONS)
    function = None if isinstance(reward, str) else reward
    if isinstance(reward, str):
        cfg = overridden(cfg, [f"reward.use={reward}"])
    elif reward is not None:
        cfg = with_callable(cfg, reward)
    with tempfile.TemporaryDirectory(prefix="pawl-score-") as folder:
        if isinstance(completions, str | Path):
            path = Path(completions)
        else:
            path = Path(folder) / "completions.jsonl"
            path.write_text("".join(dumps(dict(row)) + "\n" for row in completions), "utf-8")
        args = (str(problems), path, cfg.reward, cfg.sandbox, cfg.problems, function)
        return [found for _, found in score_lines(*args)]


def diagnose(
    path: str | Path, *, names: Mapping[str, str] | None = None, target: Target | None = None
) -> list[Diagnosis]:
    """A diagnosis of every log behind a path: of Pawl, or of another library.

    names: what columns mean, source name -> canonical name. target: what the forecast is for.
    """
    from pawl.doctor.diagnose import diagnose as diagnose_log

    return [diagnose_log(log, target) for log in read_logs(path, names=names)]


def read_logs(path: str | Path, *, names: Mapping[str, str] | None = None) -> list[Log]:
    """Every log behind a path as canonical series; names as in `diagnose`."""
    from pawl.logs.recognise import read_logs as read

    return read(Path(path), names)


def resolved(
    config: Config, overrides: Sequence[str] = (), reward: Reward | None = None
) -> tuple[RunConfig, dict[str, str]]:
    """A config in any form as a checked one, and where each option was set; raises PawlErrors."""
    if isinstance(config, str | Path):
        cfg, places = load_run(config, overrides)
    elif isinstance(config, RunConfig):
        cfg, places = overridden(config, overrides) if overrides else config, {}
    else:
        cfg, places = from_mapping(config, overrides)
    if reward is not None:
        cfg = with_callable(cfg, reward)
    if not cfg.name:
        cfg = cfg.model_copy(update={"name": free_name(cfg.runs_dir)})
    return cfg, places


def with_callable(cfg: RunConfig, reward: Reward) -> RunConfig:
    """The config with `reward.use` standing for a callable; raises PawlError beside a mix."""
    if cfg.reward.components:
        what = "a callable is the whole reward, and the config has reward.components"
        raise PawlError(what, "reward", "name the function in a component: use: path/file.py:name")
    name = str(getattr(reward, "__name__", type(reward).__name__)).lower()
    use = f"{CALLABLE}:{NOT_A_NAME.sub('_', name).strip('_') or 'reward'}"
    return cfg.model_copy(update={"reward": cfg.reward.model_copy(update={"use": use})})


def free_name(runs_dir: str) -> str:
    """run, run-2, run-3 ...: the first whose folder is not there."""
    names = itertools.chain(["run"], (f"run-{number}" for number in itertools.count(2)))
    return next(name for name in names if not (Path(runs_dir) / name).exists())
