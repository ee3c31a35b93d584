"""Versions of what a run learns from: its problems and its reward, as hashes of their content.

They stand in run.json, so that `pawl diff` can say that two runs had different data although
their configs name the same file. Left out: the toolchain (the sandbox's own facts name it).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from pathlib import Path

from pawl.config.options import RewardConfig
from pawl.types import Problem


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
