"""What of this machine a candidate may see: system programs and libraries, nothing of ours.

Nothing of the user's home and nothing of Pawl (its starter sets hold solutions) is shown, also
when Pawl is installed below /usr. Left out: how the view is enforced (`bubblewrap.py`,
`landlock.py`). Standard library only.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from pawl.errors import PawlError

PACKAGE = Path(__file__).resolve().parents[1]
_SYSTEM = ("/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libexec")
_ROOTS = ("/bin", "/sbin", "/lib", "/lib32", "/lib64")


def candidate_python() -> Path:
    """The interpreter that runs candidates: the system's, else the one we run on, venvs undone."""
    system = Path("/usr/bin/python3")
    if system.exists():
        return system.resolve()
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return (Path(sys.base_prefix) / "bin" / name).resolve()


@cache
def package_folders(names: tuple[str, ...]) -> tuple[str, ...]:
    """The folders in which the candidates' Python finds packages; PawlError when it has them not.

    All that is beside them can be imported too.
    """
    if not names:
        return ()
    python = candidate_python()
    code = "import importlib.util as u, sys; [print(u.find_spec(n).origin) for n in sys.argv[1:]]"
    argv = [str(python), "-I", "-c", code, *names]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode or not all(name.isidentifier() for name in names):
        hint = "apt-get install " + " ".join(f"python3-{name}" for name in names)
        what = f"{python} does not have all of {', '.join(names)}"
        raise PawlError(what, "sandbox.packages", hint)
    return tuple(dict.fromkeys(str(Path(o).parents[1]) for o in done.stdout.splitlines()))


def extra_paths(programs: Sequence[Path]) -> tuple[str, ...]:
    """Folders outside /usr/bin and /usr/lib that these programs need (opam, pyenv, /usr/local)."""
    out: list[str] = []
    for program in programs:
        prefix = program.parent.parent if program.parent.name == "bin" else program
        inside = any(_below(prefix, Path(root)) for root in (*_SYSTEM, *_ROOTS))
        if not inside and prefix != Path("/usr"):
            out += _without(prefix, _hidden())
    return tuple(dict.fromkeys(out))


def masked_paths(extra: Sequence[str]) -> tuple[str, ...]:
    """Folders below /usr that bubblewrap must cover, because it shows /usr whole."""
    needed = any(_below(Path(path), Path("/usr/local")) for path in extra)
    hidden = [path for path in _hidden() if _below(path, Path("/usr"))]
    if not needed and Path("/usr/local").is_dir():
        local = Path("/usr/local")
        hidden = [path for path in hidden if not _below(path, local)] + [local]
    return tuple(str(path) for path in hidden)


def readable_paths() -> tuple[str, ...]:
    """Folders and files that the landlock tier opens for reading and executing."""
    out: list[str] = []
    for name in (*_SYSTEM, *_ROOTS):
        if Path(name).is_dir():
            out += _without(Path(name).resolve(), _hidden())
    out += [p for p in ("/etc/ld.so.cache", "/etc/alternatives") if Path(p).exists()]
    return tuple(dict.fromkeys(out))


def _hidden() -> list[Path]:
    site = {Path(entry).resolve() for entry in sys.path if entry.endswith("-packages")}
    ours = [PACKAGE, PACKAGE.parent if (PACKAGE.parent / "pyproject.toml").exists() else PACKAGE]
    home = Path(os.path.expanduser("~"))
    debian = {path for path in site if re.match("/usr/lib/python3[^/]*/dist-packages", str(path))}
    return [path for path in {*ours, *site, home.resolve()} if path not in debian]


def _without(root: Path, hidden: Sequence[Path]) -> list[str]:
    """`root`, or what lies below it except the hidden folders."""
    if any(_below(root, path) for path in hidden if path != Path(os.path.expanduser("~"))):
        return []
    if not any(_below(path, root) for path in hidden):
        return [str(root)]
    out: list[str] = []
    for child in sorted(root.iterdir()):
        if not child.is_symlink():
            out += _without(child, hidden)
    return out


def _below(path: Path, root: Path) -> bool:
    return path == root or root in path.parents
