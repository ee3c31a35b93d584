"""The seam between the training loop and whoever shows it: `Display`, and one that is silent.

The loop calls these methods and knows no terminal; the command line gives it a terminal, tests
give it a recorder. Left out: drawing (`pawl.cli.display`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from pawl.config.options import RunConfig

Record = Mapping[str, object]


class Display(Protocol):
    """What the loop tells while it runs, in this order: start, then steps and the rest, close."""

    def start(self, cfg: RunConfig, total_steps: int, diff_from_defaults: Sequence[Record]) -> None:
        """The run begins; rows of the difference hold path, default, value, from."""

    def phase(self, name: str) -> None:
        """What the loop is doing now: "generate", "score", "update", "eval", "checkpoint"."""

    def step(self, record: Record) -> None:
        """One finished step, as it stands in steps.jsonl."""

    def epoch(self, record: Record) -> None:
        """One finished epoch: flat, names of the `epoch/` group."""

    def eval(self, record: Record) -> None:
        """One finished held-out evaluation: flat, names of the `eval/` group and `step`."""

    def note(self, text: str) -> None:
        """One line that a person should read (engine chosen, rule failed, checkpoint kept)."""

    def close(self, summary: str) -> None:
        """The run is over; `summary` is its last line."""


class Silent:
    """A display that shows nothing; the base of those that show one thing."""

    def start(self, cfg: RunConfig, total_steps: int, diff_from_defaults: Sequence[Record]) -> None:
        """Show nothing."""

    def phase(self, name: str) -> None:
        """Show nothing."""

    def step(self, record: Record) -> None:
        """Show nothing."""

    def epoch(self, record: Record) -> None:
        """Show nothing."""

    def eval(self, record: Record) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Show nothing."""

    def close(self, summary: str) -> None:
        """Show nothing."""
