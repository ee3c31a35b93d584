"""Versions of what a run learns from: its problems and its reward, as hashes of their content.

They stand in run.json, so that `pawl diff` can say that two runs had different data although
their configs name the same file. Left out: the toolchain (the sandbox's own facts name it).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from pawl.config.options import RewardConfig
from pawl.types import Problem


def data_version(problems: Iterable[Problem]) -> dict[str, object]:
    """Number of problems and a hash of all that they hold, their places in files aside."""
    digest, n = hashlib.sha256(), 0
    for problem in problems:
        body = {**asdict(problem), "where": ""}
        digest.update(json.dumps(body, sort_keys=True).encode())
        n += 1
    return {"problems": n, "hash": digest.hexdigest()[:16]}


def reward_version(cfg: RewardConfig) -> dict[str, object]:
    """Hash of the reward's options, and one of each file of the user's that it is read from."""
    options = json.dumps(cfg.model_dump(mode="json"), sort_keys=True)
    files = {}
    for use in dict.fromkeys([cfg.use, *(c.use for c in cfg.components)]):
        path = Path(use.rpartition(":")[0])
        if path.suffix == ".py" and path.is_file():
            files[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return {"hash": hashlib.sha256(options.encode()).hexdigest()[:16], "files": files}
