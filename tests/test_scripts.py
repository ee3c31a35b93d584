"""Set-up, scripts and the wheel: what a fresh machine gets.

The set-up runs for real in a copy of the few files that it reads, with a PATH that lacks what the
test wants absent. Left out: a full installation from an index, which is what running scripts/test
in a new clone does.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ["scripts/setup", "scripts/demo", "scripts/test", ".ci/run"]
HIDDEN = {"bwrap", "ocamlc", "ocamlc.opt", "sudo", "id"}


def path_without(folder: Path, *, user: int) -> str:
    """A PATH of links to all system programs but HIDDEN, on which `id -u` prints `user`."""
    folder.mkdir()
    for bin_dir in ("/usr/bin", "/bin"):
        for program in Path(bin_dir).iterdir():
            link = folder / program.name
            if program.name not in HIDDEN and not link.is_symlink():
                link.symlink_to(program)
    (folder / "id").write_text(f"#!/bin/sh\necho {user}\n")
    (folder / "id").chmod(0o755)
    (folder / "python3").unlink(missing_ok=True)
    (folder / "python3").symlink_to(sys.executable)
    return str(folder)


def copy_of_setup(folder: Path) -> Path:
    """The files that set-up reads, and nothing else."""
    for name in ("pyproject.toml", "constraints.txt", "scripts/setup"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


def run_setup(folder: Path, path: str, **environ: str) -> subprocess.CompletedProcess[str]:
    keep = {"PATH": path, "HOME": str(folder), "PIP_CONFIG_FILE": os.devnull}
    return subprocess.run(
        ["bash", "scripts/setup"], cwd=folder, env=keep | environ, capture_output=True, text=True
    )


def pretend_installed(folder: Path, path: str) -> None:
    """Leave what a finished set-up leaves: the command and the stamp of its inputs."""
    version = subprocess.check_output([f"{path}/python3", "--version"])
    stamp = hashlib.sha256()
    for part in ((folder / n).read_bytes() for n in ("pyproject.toml", "constraints.txt")):
        stamp.update(part)
    stamp.update(version)
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / ".venv/pawl-stamp").write_text(stamp.hexdigest() + "\n")
    (folder / ".venv/bin/pawl").write_text("#!/bin/sh\n")
    (folder / ".venv/bin/pawl").chmod(0o755)


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_parse(script: str) -> None:
    subprocess.run(["bash", "-n", str(ROOT / script)], check=True)
    assert os.access(ROOT / script, os.X_OK) or script == "scripts/setup"


def test_setup_names_what_it_may_not_install_and_goes_on(tmp_path: Path) -> None:
    folder = copy_of_setup(tmp_path / "copy")
    path = path_without(tmp_path / "bin", user=1000)
    pretend_installed(folder, path)
    result = run_setup(folder, path)
    assert result.returncode == 0, result.stderr
    assert "apt-get install ocaml-nox ocaml-compiler-libs bubblewrap" in result.stderr
    assert "without bubblewrap" in result.stderr


def test_setup_that_fails_leaves_no_stamp(tmp_path: Path) -> None:
    folder, path = copy_of_setup(tmp_path / "copy"), path_without(tmp_path / "bin", user=1000)
    bare = ["-m", "venv", "--without-pip", "--system-site-packages", folder / ".venv"]
    subprocess.run([f"{path}/python3", *bare], check=True)  # where it lacks pip it is made anew
    result = run_setup(folder, path, PIP_NO_INDEX="1")
    assert result.returncode == 2
    assert "could not be made" in result.stderr
    assert not (folder / ".venv/pawl-stamp").exists()


def test_setup_refuses_a_python_that_does_not_exist(tmp_path: Path) -> None:
    folder = copy_of_setup(tmp_path / "copy")
    path = path_without(tmp_path / "bin", user=1000)
    result = run_setup(folder, path, PYTHON="python-of-tomorrow")
    assert result.returncode == 2
    assert "python-of-tomorrow" in result.stderr


def test_pins_are_exact_and_plain() -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    bad = [p for p in pins if not re.fullmatch(r"[A-Za-z0-9_.\-]+==[0-9][0-9a-z.]*", p)]
    assert not bad, f"not name==version: {bad}"
    assert "torch==2.13.0" in pins


def test_every_direct_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [*project["dependencies"], *sum(project["optional-dependencies"].values(), [])]
    names = {re.split(r"[<>=]", want)[0].lower() for want in wanted}
    lines = (ROOT / "constraints.txt").read_text("utf-8").lower().splitlines()
    assert not names - {line.split("==")[0] for line in lines}


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_package(tmp_path: Path) -> None:
    listed = subprocess.check_output(["git", "ls-files", "pawl"], cwd=ROOT, text=True)
    files = [name for name in listed.splitlines() if (ROOT / name).exists()]
    for name in [*files, "pyproject.toml", "README.md", "LICENSE"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    command = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert not set(files) - set(zipfile.ZipFile(wheel).namelist())
