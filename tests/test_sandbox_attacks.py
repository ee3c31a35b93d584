"""No attack scores and every control does, in each tier, as root and as an ordinary user."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import attack_runner
import pytest

from pawl.errors import PawlError
from pawl.sandbox.tiers import open_sandbox, unavailable
from pawl.types import Tier

RUNNER = Path(attack_runner.__file__)
ATTACKS = attack_runner.ATTACKS
PROGRAMS = 51 + 38 + 24  # attacks in Python and OCaml, controls
PROGRAMS_IN_PYTHON = 51 + 14
USER = 15001
QUICK = [
    "01_", "02_", "08_write", "10_print", "11_", "14_eq", "22_magic", "29_", "35_", "37_huge",
    "53_double", "55_", "61_", "62_own", "65_", "67_", "77_", "13_redefine", "14_module",
    "17_ifdef", "31_", "62_fence", "05_redefines", "07_own", "07_multi", "08_temp", "12_alloc",
]  # fmt: skip
WAYS: list[tuple[Tier, str]] = [
    ("bubblewrap", "cold"),
    ("bubblewrap", "warm"),
    ("landlock", "cold"),
]
# multiprocessing needs POSIX semaphores in /dev/shm, which all processes of a machine share; only
# a mount namespace gives a candidate one of its own.
CANNOT = {"landlock": {"controls_python/07_multiprocessing_pool.py"}, "bubblewrap": set[str]()}


def usable(tier: Tier) -> None:
    reason = unavailable(tier)
    if reason:
        pytest.skip(f"{tier}: {reason}")
    if shutil.which("ocamlc") is None:
        pytest.skip("no OCaml on this machine")


def judge(records: list[dict[str, object]], tier: str) -> None:
    """Assert what the corpus promises; all failures at once."""
    wrong = []
    for record in records:
        name = str(record["name"])
        control = name.startswith("controls_")
        if control and name not in CANNOT[tier] and record["total"] != 1.0:
            wrong.append(record)
        if not control and record["tests"] != 0.0:
            wrong.append(record)
        if record["left"] or record["tier"] != tier:
            wrong.append(record)
    assert not wrong, json.dumps(wrong, indent=1)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter (pytest closes its own again and again)."""
    folder = Path(tempfile.mkdtemp(prefix="attack-corpus-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def as_user(
    tier: str, start: str, only: list[str], folder: Path, around: Sequence[str] = ()
) -> list[dict[str, object]]:
    """The runner as an ordinary user with the system's Python; around: a command to run it in."""
    system = Path("/usr/bin/python3")
    if os.getuid() or not system.exists() or shutil.which("setpriv") is None:
        pytest.skip("needs root, setpriv and /usr/bin/python3 to become an ordinary user")
    copy = folder / "project"
    shutil.copytree(RUNNER.parent.parent / "pawl", copy / "pawl")
    shutil.copytree(RUNNER.parent / "attacks", copy / "tests" / "attacks")
    shutil.copy(RUNNER, copy / "tests")
    for path in copy.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    home = folder / "home"
    home.mkdir()
    os.chown(home, USER, USER)
    argv = [*around, "setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
    argv += [str(system), "-B", str(copy / "tests" / RUNNER.name), tier, start, *only]
    return records_of(argv, home)


def records_of(argv: list[str], home: Path) -> list[dict[str, object]]:
    """What the runner prints."""
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(("tier", "start"), WAYS)
def test_a_sample_of_the_corpus(tier: Tier, start: str) -> None:
    """OCaml programs start cold in any case, so the fork server is left to Python's."""
    usable(tier)
    only = [f"python/{name}" for name in QUICK] if start == "warm" else QUICK
    records = list(attack_runner.run(tier, start == "warm", only))
    assert len(records) > (14 if start == "warm" else 25)
    judge(records, tier)


@pytest.mark.parametrize("tier", ["bubblewrap", "landlock"])
def test_a_few_as_an_ordinary_user(tier: Tier, open_folder: Path) -> None:
    usable(tier)
    only = ["01_", "29_", "53_double", "55_kill", "08_temp"]
    judge(as_user(tier, "warm", only, open_folder), tier)


@pytest.mark.slow
@pytest.mark.parametrize(("tier", "start"), WAYS)
def test_the_whole_corpus(tier: Tier, start: str) -> None:
    usable(tier)
    only = ["python/"] if start == "warm" else []
    records = list(attack_runner.run(tier, start == "warm", only))
    assert len(records) == (PROGRAMS_IN_PYTHON if only else PROGRAMS)
    judge(records, tier)


@pytest.mark.slow
@pytest.mark.parametrize(("tier", "start"), WAYS)
def test_the_whole_corpus_as_an_ordinary_user(tier: Tier, start: str, open_folder: Path) -> None:
    usable(tier)
    only = ["python/"] if start == "warm" else []
    records = as_user(tier, start, only, open_folder)
    assert len(records) == (PROGRAMS_IN_PYTHON if only else PROGRAMS)
    judge(records, tier)


def test_auto_falls_to_landlock_and_says_what_was_refused() -> None:
    usable("landlock")
    with open_sandbox(attack_runner.limits(), refuse=["bubblewrap"]) as sandbox:
        assert sandbox.tier == "landlock"
        assert "bubblewrap: refused" in sandbox.describe()["refused"]


ONLY = ["01_", "29_", "53_double", "55_kill", "08_temp", "10_print"]


@pytest.mark.parametrize("user", ["root", "ordinary"])
@pytest.mark.parametrize("bwrap", ["yes", "no"])
def test_landlock_where_user_namespaces_are_denied(
    bwrap: str, user: str, open_folder: Path
) -> None:
    """`auto` falls to landlock by itself, whether or not a bubblewrap is there to fail."""
    usable("landlock")
    around = [sys.executable, str(RUNNER.with_name("without_namespaces.py")), bwrap]
    if os.getuid() or subprocess.run([*around, "true"], check=False).returncode:
        pytest.skip("needs root and user namespaces to make a place that denies them")
    if user == "ordinary":
        records = as_user("auto", "warm", ONLY, open_folder, around)
    else:
        argv = [*around, sys.executable, str(RUNNER), "auto", "warm", *ONLY]
        records = records_of(argv, open_folder)
    assert len(records) > 6
    judge(records, "landlock")


def test_an_old_landlock_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian 12's own kernel 6.1 has ABI 2; below landlock nothing is used unless asked for."""
    usable("landlock")
    monkeypatch.setenv("LANDLOCK_ABI_MAX", "2")
    with pytest.raises(PawlError, match="landlock ABI 2 does not cover"):
        open_sandbox(attack_runner.limits("landlock"))
    with pytest.raises(PawlError, match="no sandbox: bubblewrap: refused.*; landlock: landlock"):
        open_sandbox(attack_runner.limits(), refuse=["bubblewrap"])


@pytest.mark.skipif(os.getuid() != 0, reason="needs a uid of the pool")
@pytest.mark.parametrize("abi", ["3", "5"])
def test_an_older_landlock_is_enough_where_candidates_have_their_own_uid(
    abi: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    usable("landlock")
    monkeypatch.setenv("LANDLOCK_ABI_MAX", abi)
    records = list(attack_runner.run("landlock", False, ["55_kill", "65_", "64_net", "01_plain"]))
    judge(records, "landlock")


def test_the_unsafe_tier_needs_to_be_asked_for() -> None:
    with pytest.raises(PawlError, match="unsafe tier"):
        open_sandbox(attack_runner.limits("unsafe"))


def test_scoring_needs_no_third_party_module() -> None:
    """The runner itself needs no third-party module, so an ordinary Python can score."""
    code = (
        "import sys, attack_runner; print([m for m in sys.modules if m in ('pydantic', 'numpy')])"
    )
    argv = [sys.executable, "-c", code]
    done = subprocess.run(argv, cwd=RUNNER.parent, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_manifests_name_every_attack() -> None:
    for lang in ("python", "ocaml"):
        rows = map(json.loads, (ATTACKS / f"manifest_{lang}.jsonl").read_text("utf-8").splitlines())
        files = [f"{lang}/{path.name}" for path in sorted((ATTACKS / lang).iterdir())]
        assert [row["file"] for row in rows] == files


# ---- the second round ----------------------------------------------------------------------------

LAST_COUNTS = "py-several-fences-first-counts"  # its last block is a right answer


@pytest.mark.parametrize("tier", ["bubblewrap", "landlock"])
def test_the_second_round_earns_nothing(tier: Tier) -> None:
    """No test passed, nothing missing, no more than a tenth in all, and the scorer goes on."""
    usable(tier)
    wrong: list[tuple[str, object]] = []
    asked = list(attack_runner.round_two())
    given = attack_runner.limits(tier, wall_s=1.0)
    with open_sandbox(given, warm=tier == "bubblewrap") as sandbox:
        for name, problem, text in asked:
            found = attack_runner.score(sandbox, problem, text)
            if found.status != "scored" or sandbox.left_over() or found.total is None:
                wrong.append((name, found))
            elif name == LAST_COUNTS:
                wrong += [] if found.total == 1.0 else [(name, found)]
            elif found.components["tests"] > 0 or found.total > 0.1 + 1e-12:
                wrong.append((name, found))
    assert not wrong, wrong
    assert len(asked) == 22
