"""Pawl post-trains language models by reinforcement learning and holds what training has won.

`pawl.train`, `check`, `evaluate`, `score`, `diagnose` and `read_logs` are what the commands of
these names call (`pawl.api`); they load what they need when they are called. docs/python.md shows
each.
"""

from types import ModuleType
from typing import TYPE_CHECKING, Any

import pawl.train as _loop  # an empty package: what it holds is imported when it is used

if TYPE_CHECKING:
    from pawl.api import check, diagnose, evaluate, read_logs, score, train

__version__ = "0.1.0"
__all__ = ["check", "diagnose", "evaluate", "read_logs", "score", "train"]


class _Train(ModuleType):
    """`pawl.train` is the package of the loop, and the function that runs it."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Train as a config says; see `pawl.api.train`."""
        from pawl import api

        return api.train(*args, **options)


_loop.__class__ = _Train


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'pawl' has no attribute {name!r}")
    from pawl import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
