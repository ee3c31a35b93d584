"""The OCaml toolchain: where it is, which version, and our two helpers built for it.

`pawl_dump` (writes results) and `mlcheck` (counts type errors) are compiled once into
$XDG_CACHE_HOME/pawl, keyed by compiler version and source hash. Left out: checking candidates
(`ocaml.py`). Only trusted sources are compiled here. What is missing is trouble of the machine: it
stops who asks, and makes no problem bad and no score missing.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from pawl.errors import Exit, PawlError
from pawl.sandbox.visible import PACKAGE

_SOURCES = PACKAGE / "sandbox"
# 4.13 and older give 4 parts; 4.14 and 5.x put the shape before the environment
_VARIANTS = [
    f"let (_, _, _, {parts}) = Typemod.type_structure env items in env"
    for parts in ("env", "_, env")
]
_HINT = "apt-get install ocaml-nox ocaml-compiler-libs"


@dataclass(frozen=True, slots=True)
class Toolchain:
    """ocamlc and ocamlrun, our built helpers, and what could not be had."""

    ocamlc: Path
    ocamlrun: Path
    folder: Path
    checker: str  # "native", "bytecode" or "" when it could not be built
    libraries: Mapping[bytes, tuple[str, ...]] = field(default_factory=dict)  # ocamlc's arguments


@cache
def toolchain() -> Toolchain:
    """Find the compiler and build the helpers (about 2 s the first time); raises PawlError."""
    found = shutil.which("ocamlc.opt") or shutil.which("ocamlc")
    if found is None:
        raise PawlError("no OCaml compiler (ocamlc) on this machine", "PATH", _HINT, Exit.STOPPED)
    ocamlc = Path(found).resolve()
    ocamlrun = ocamlc.parent / "ocamlrun"
    version = _run([str(ocamlc), "-version"], Path("/")).strip()
    if not re.match(r"[45]\.\d+", version):
        what = f"ocamlc says that its version is {version!r}"
        raise PawlError(what, str(ocamlc), _HINT, Exit.STOPPED)
    sources = [_SOURCES / name for name in ("dump.ml", "mlcheck.ml")]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in [*sources, Path(__file__)]))
    folder = _cache() / f"ocaml-{version}-{digest.hexdigest()[:16]}"
    if not (folder / "complete").exists():
        _build(folder, ocamlc, version)
    checker = (folder / "complete").read_text()
    return Toolchain(ocamlc, ocamlrun, folder, checker, _libraries(ocamlc))


def _libraries(ocamlc: Path) -> dict[bytes, tuple[str, ...]]:
    """Str and Unix where they are installed: beside the standard library, or in folders of it.

    By the name of their module, how a program is linked with them.
    """
    standard = Path(_run([str(ocamlc), "-where"], Path("/")).strip())
    out: dict[bytes, tuple[str, ...]] = {}
    for name in ("str", "unix"):
        if (standard / name / f"{name}.cma").exists():
            out[name.title().encode()] = ("-I", f"+{name}", f"{name}.cma")
        elif (standard / f"{name}.cma").exists():
            out[name.title().encode()] = (f"{name}.cma",)
    return out


def _cache() -> Path:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "pawl")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        what = f"cannot make the cache folder ({error.strerror})"
        raise PawlError(what, str(folder), "set XDG_CACHE_HOME", Exit.STOPPED) from error
    return folder


def _build(folder: Path, ocamlc: Path, version: str) -> None:
    """Compile into a sibling folder, then rename: nobody sees a half-built cache."""
    work = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        shutil.copyfile(_SOURCES / "dump.ml", work / "pawl_dump.ml")
        _run([str(ocamlc), "-w", "-a", "-c", "pawl_dump.ml"], work)
        (work / "complete").write_text(_build_checker(work, ocamlc, version))
        os.chmod(work, 0o755)
        os.rename(work, folder)
    except OSError:
        if not (folder / "complete").exists():  # else another process was faster
            raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _build_checker(work: Path, ocamlc: Path, version: str) -> str:
    template = (_SOURCES / "mlcheck.ml").read_text()
    old = tuple(map(int, version.split(".")[:2])) < (4, 14)
    native = ocamlc.with_name("ocamlopt.opt")
    ways = [
        ("native", str(native), "ocamlcommon.cmxa"),
        ("bytecode", str(ocamlc), "ocamlcommon.cma"),
    ]
    for kind, compiler, library in ways:
        for variant in _VARIANTS if old else reversed(_VARIANTS):
            (work / "mlcheck.ml").write_text(
                template.replace("= TYPE_STRUCTURE\n", f"= {variant}\n")
            )
            try:
                _run([compiler, "-w", "-a", "-I", "+compiler-libs", library, "mlcheck.ml",
                      "-o", "mlcheck"], work)  # fmt: skip
            except PawlError:
                continue
            return kind
    return ""


def _run(argv: list[str], folder: Path) -> str:
    try:
        done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=120)
    except (OSError, subprocess.TimeoutExpired) as error:
        what = f"{argv[0]} cannot be run ({error})"
        raise PawlError(what, "ocaml", _HINT, Exit.STOPPED) from error
    if done.returncode:
        what = f"{argv[0]} failed: {done.stderr.strip()[:300]}"
        raise PawlError(what, "ocaml", _HINT, Exit.STOPPED)
    return done.stdout
