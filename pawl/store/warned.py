"""Warnings of libraries: kept off the terminal, written to events.jsonl once each with a count.

Catches Python warnings and log records of WARNING and above while the block runs; they are
written when it ends, errors and Ctrl-C included (a `kill -9` loses them). Left out: what a C
library prints by itself.
"""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from pawl.store.run import RunFolder

LOUD = ("transformers", "huggingface_hub", "datasets")  # they bring handlers of their own


@contextmanager
def library_warnings(run: RunFolder) -> Iterator[Counter[tuple[str, str]]]:
    """Collect warnings inside the block as (source, text) -> count, then write the events."""
    seen: Counter[tuple[str, str]] = Counter()

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        seen[f"{category.__name__} at {filename}:{lineno}", str(message)] += 1

    def count(record: logging.LogRecord) -> bool:
        seen[record.name, record.getMessage()] += 1
        return False  # nothing is written

    handler = logging.Handler(logging.WARNING)
    handler.addFilter(count)
    loggers = [logging.getLogger(name) for name in (None, *LOUD)]
    old = [(log, log.handlers, log.propagate) for log in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", ResourceWarning)  # for developers, as Python has it
        warnings.showwarning = show
        for log in loggers:
            log.handlers, log.propagate = [handler], False
        try:
            yield seen
        finally:
            for log, handlers, propagate in old:
                log.handlers, log.propagate = handlers, propagate
            for (source, text), times in seen.items():
                run.event("warning", source=source, text=text, count=times)
