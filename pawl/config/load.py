"""A config file, the environment and the command line to one checked config.

Order: defaults < file < environment (`PAWL_OPTIM__LR=1e-5`) < command line (`optim.lr=1e-5`).
Every mistake is reported at once, with file and line, the value, the range and the nearest known
name (names: `parse`; types and ranges: `check`). Left out: mistakes that only the data or the model
can show (`pawl check`).

Use: `cfg, places = load_run("run.yaml", ["optim.lr=1e-5"])`; `places["optim.lr"]` says where a
value came from ("run.yaml:12", "environment PAWL_OPTIM__LR", "command line", "default").
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel

from pawl.config.check import Config, check
from pawl.config.options import RunConfig, SftConfig
from pawl.config.parse import LONGEST, Table, put_yaml
from pawl.config.presets import PRESETS
from pawl.config.tree import leaves, nearest, options
from pawl.errors import PawlError, PawlErrors, near_file

PREFIX = "PAWL_"


def load_run(
    path: str | Path, overrides: Sequence[str] = (), environ: Mapping[str, str] | None = None
) -> tuple[RunConfig, dict[str, str]]:
    """The config of a run and where each value came from; `name` falls back to the file's stem.

    Raises PawlErrors with every mistake in the file, the environment and the overrides.
    """
    table = _read(RunConfig, Path(path), overrides, environ)
    _put_preset(table, set(table.values))
    if not table.values.get("name"):
        table.put("name", Path(path).stem, "file name")
    return checked(RunConfig, table)


def from_mapping(
    given: Mapping[str, object], overrides: Sequence[str] = ()
) -> tuple[RunConfig, dict[str, str]]:
    """The config of a run from options as a mapping, nested or dotted; as `load_run` otherwise."""
    table = Table(RunConfig)
    text = json.dumps(_nested(given), default=str)  # which is YAML as well
    put_yaml(table, "", text, "the mapping")
    _overlay(table, overrides, None)
    _put_preset(table, set(table.values))
    return checked(RunConfig, table)


def _nested(given: Mapping[str, object]) -> dict[str, object]:
    """Dotted names as sections."""
    made: dict[str, object] = {}
    for name, value in given.items():
        first, _, rest = name.partition(".")
        inner = {rest: value} if rest else value
        plain = _nested(inner) if isinstance(inner, Mapping) else inner
        old = made.get(first)
        joined = isinstance(old, dict) and isinstance(plain, dict)
        made[first] = {**old, **plain} if joined else plain  # type: ignore[dict-item] # both are
    return made


def load_sft(
    path: str | Path, overrides: Sequence[str] = (), environ: Mapping[str, str] | None = None
) -> tuple[SftConfig, dict[str, str]]:
    """The config of a supervised run and where each value came from; raises PawlErrors."""
    table = _read(SftConfig, Path(path), overrides, environ)
    return checked(SftConfig, table)


def overridden(
    cfg: RunConfig,
    overrides: Sequence[str],
    environ: Mapping[str, str] | None = None,
    sections: Sequence[str] = (),
) -> RunConfig:
    """A config that exists already, with environment and overrides on top; raises PawlErrors.

    sections: where a command reads these alone, an override of another one is an error, as it would
    do nothing. A preset among the overrides sets what is left open, as in a file; one of the
    environment does not, since a run that is evaluated keeps its options.
    """
    names = [text.partition("=")[0].strip() for text in overrides]
    idle = [n for n in names if n.partition(".")[0] in RunConfig.model_fields]
    idle = [n for n in idle if sections and n.partition(".")[0] not in sections]
    if idle:
        hint = f"this command reads the sections {', '.join(sections)}"
        told = [PawlError(f"`{name}` does nothing here", "command line", hint) for name in idle]
        raise PawlErrors(told)
    table = Table(RunConfig)
    for path, value in leaves(cfg).items():
        table.put(path, value, "the config to change")
    preset = any(text.partition("=")[0].strip() == "algo.preset" for text in overrides)
    return _changed(table, overrides, environ, preset)[0]


def continued(
    cfg: RunConfig,
    places: Mapping[str, str],
    overrides: Sequence[str],
    environ: Mapping[str, str] | None = None,
) -> tuple[RunConfig, dict[str, str]]:
    """The config of a fork: another run's with environment and overrides on top.

    A preset of either sets what they leave open, as in a file. Raises PawlErrors.
    """
    table = Table(RunConfig)
    for path, value in leaves(cfg).items():
        place = places.get(path, "default")
        table.put(path, value, place if place.startswith("parent: ") else f"parent: {place}")
    return _changed(table, overrides, environ)


def _changed(
    table: Table,
    overrides: Sequence[str],
    environ: Mapping[str, str] | None,
    preset: bool = True,
) -> tuple[RunConfig, dict[str, str]]:
    before = dict(table.places)
    _overlay(table, overrides, environ)
    given = {path for path in table.values if table.places[path] != before.get(path)}
    if preset and "algo.preset" in given:
        _put_preset(table, given)
    return checked(RunConfig, table)


def _put_preset(table: Table, given: set[str]) -> None:
    """Set what the table's preset names and nobody gave."""
    name = str(table.values.get("algo.preset"))
    for option, value in PRESETS.get(name, {}).items():
        if option not in given:
            table.put(option, value, f"preset {name}")


@contextmanager
def placed(places: Mapping[str, str]) -> Iterator[None]:
    """Errors about an option that was given say where: "run.yaml:3: `model.path`"."""
    try:
        yield
    except PawlError as error:
        errors = error.errors if isinstance(error, PawlErrors) else [error]
        for one in errors:
            place = places.get(one.where, "default")
            if place != "default":
                told = f"`{one.where}`" in one.what
                one.where = place if told else f"{place}: `{one.where}`"
        raise


def checked(model: type[Config], table: Table) -> tuple[Config, dict[str, str]]:
    """The config of a table, and where each value came from ("default" where nobody set it)."""
    return check(model, table), {p: table.places.get(p, "default") for p, _ in options(model)}


def _read(
    model: type[BaseModel], path: Path, overrides: Sequence[str], environ: Mapping[str, str] | None
) -> Table:
    table = Table(model)
    put_yaml(table, "", _text(path), str(path), lines=True)
    _overlay(table, overrides, environ)
    if not table.values and not table.errors and model is RunConfig:
        hint = "write what differs from the defaults; examples/quickstart.yaml is a short config"
        raise PawlError("the config is empty: it sets no option", str(path), hint)
    return table


def _overlay(table: Table, overrides: Sequence[str], environ: Mapping[str, str] | None) -> None:
    """Environment, then command line, on top of what the table holds."""
    for path, text, place in _environment(table, os.environ if environ is None else environ):
        _put_text(table, path, text, place)
    for override in overrides:
        name, sign, text = override.partition("=")
        if not sign:
            what = f"`{override}` is not of the form section.option=value"
            meant = nearest(name, [], [p for p, _ in options(table.root)])
            hint = f"did you mean `{meant}=...`?" if meant else "for example optim.lr=1e-5"
            table.errors.append(PawlError(what, "command line", hint))
            continue
        _put_text(table, name.strip(), text, "command line")


def _text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as f:
            return f.read(LONGEST + 1)  # of a file of data no more than shows what it is
    except FileNotFoundError:
        first = f"the config comes first: pawl train CONFIG {path}"
        hint = first if "=" in path.name else near_file(path) or "check the path"
        raise PawlError("no such config file", str(path), hint) from None
    except UnicodeDecodeError as e:
        where = f"{path}:{e.object.count(10, 0, e.start) + 1}"
        raise PawlError(f"not a text file ({e.reason})", where, "save it as UTF-8") from None
    except OSError as e:
        raise PawlError(f"cannot read the config: {e.strerror}", str(path)) from None


def _environment(table: Table, environ: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """(path, text, place) of every PAWL_ variable of this config; unknown ones are errors."""
    mine = {_variable(p): p for p, _ in options(table.root)}
    known = {_variable(p) for model in (RunConfig, SftConfig) for p, _ in options(model)}
    found = []
    for name in sorted(n for n in environ if n.startswith(PREFIX)):
        if name in mine:
            found.append((mine[name], environ[name], f"environment {name}"))
        elif name not in known:
            meant = nearest(name, sorted(known), [])
            hint = f"did you mean {meant}?" if meant else "unset it; names are PAWL_SECTION__OPTION"
            table.errors.append(PawlError("names no option", f"environment {name}", hint))
    return found


def _variable(path: str) -> str:
    return PREFIX + path.replace(".", "__").upper()


def _put_text(table: Table, path: str, text: str, place: str) -> None:
    """Set one option from text outside the file: YAML, but text options take it as it is."""
    option = dict(options(table.root)).get(path)
    if option is not None and option.annotation is str and text[:1] not in ("'", '"'):
        table.put(path, text, place)
        return
    try:
        put_yaml(table, path, text, place)
    except PawlError as e:
        table.errors.append(PawlError(f"`{path}`: {e.what}", place, "quote the value"))
