"""Functions of Pawl replaced while something runs: how the benches plant faults."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch


@contextmanager
def everywhere(real: Any, fake: Any) -> Iterator[None]:
    """Replace a function in every module of Pawl that holds it by any name."""
    with ExitStack() as stack:
        for name, module in list(sys.modules.items()):
            if name.startswith("pawl"):
                for key, value in list(vars(module).items()):
                    if value is real:
                        stack.enter_context(patch.object(module, key, fake))
        yield
