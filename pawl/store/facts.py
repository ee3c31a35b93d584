"""What a run was made with: git commit, package versions, hardware, data, reward. No torch.

A fact that cannot be found is None, never a guess. Versions of problems and reward are hashes of
their content, so that `pawl diff` can say that two runs had different data although their configs
name the same file. Left out: facts that only the trainer knows (device in use, sandbox tier), which
it adds with `RunFolder.update`.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from importlib import metadata
from pathlib import Path

from pawl.config.options import RewardConfig
from pawl.types import Problem

PACKAGES = (
    "pawl torch transformers peft bitsandbytes safetensors tokenizers numpy pydantic ruamel.yaml "
    "datasets pyarrow"
).split()


def git() -> dict[str, object] | None:
    """Commit of the working folder and whether tracked files differ from it."""
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


def data_version(problems: Iterable[Problem]) -> dict[str, object]:
    """Number of problems and a hash of all that they hold, their places in files aside."""
    digest, n = hashlib.sha256(), 0
    for problem in problems:
        digest.update(json.dumps(_body(problem), default=_body).encode())
        n += 1
    return {"problems": n, "hash": digest.hexdigest()[:16]}


def _body(record: object) -> dict[str, object]:
    """A record's fields, its place in a file aside; records in it are asked for in turn."""
    if not is_dataclass(record):
        return {"": str(record)}  # a value of somebody's row that JSON does not know
    names = (f.name for f in fields(record) if f.name != "where")
    return {name: getattr(record, name) for name in names}


def reward_version(cfg: RewardConfig) -> dict[str, object]:
    """Hash of the reward's options, and one of each file of the user's that it is read from."""
    options = json.dumps(cfg.model_dump(mode="json"), sort_keys=True)
    files = {}
    for use in dict.fromkeys([cfg.use, *(c.use for c in cfg.components)]):
        path = Path(use.rpartition(":")[0])
        if path.suffix == ".py" and path.is_file():
            files[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return {"hash": hashlib.sha256(options.encode()).hexdigest()[:16], "files": files}
