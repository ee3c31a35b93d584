"""What a run was made with: git commit, package versions, hardware. No torch, no network.

A fact that cannot be found is None, never a guess. Left out: facts that only the trainer knows
(device in use, sandbox tier, versions of data and reward); it adds them with `RunFolder.update`.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

PACKAGES = (
    "pawl",
    "torch",
    "transformers",
    "peft",
    "bitsandbytes",
    "safetensors",
    "tokenizers",
    "numpy",
    "pydantic",
    "ruamel.yaml",
    "datasets",
    "pyarrow",
)


def git() -> dict[str, object] | None:
    """Commit of the working folder and whether tracked files differ from it."""
    if shutil.which("git") is None:
        return None
    commit = _run("git", "rev-parse", "HEAD")
    if commit is None:
        return None
    return {"commit": commit, "changed": bool(_run("git", "status", "--porcelain", "-uno"))}


def packages() -> dict[str, str | None]:
    """Installed version of each package that results can depend on, None where absent."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def hardware() -> dict[str, object]:
    """Machine, cores, memory in MiB, and GPUs as the driver names them."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cpu": _line_of("/proc/cpuinfo", "model name"),
        "cores": len(os.sched_getaffinity(0)),
        "memory_mb": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20,
        "gpus": _gpus(),
    }


def _gpus() -> list[str]:
    if shutil.which("nvidia-smi") is None:
        return []
    text = _run("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader")
    return text.splitlines() if text else []


def _line_of(path: str, key: str) -> str | None:
    if not Path(path).exists():
        return None
    with open(path, encoding="utf-8", errors="replace") as f:
        return next((line.partition(":")[2].strip() for line in f if line.startswith(key)), None)


def _run(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
