"""The seam between the loop and whatever generates: what an engine does, and what it can do.

Two engines live beside this file: `hf` (plain generate, the oracle) and `local` (fast decoding).
Randomness: one Philox stream for each (seed, step, problem, member); token t of a completion is
chosen by inverse CDF with the t-th uniform of its stream, so samples do not depend on the batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from pawl.models.policy import Policy
from pawl.types import Prompt, Sample


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to sample; temperature 0 is greedy.

    replay: set by training. Under top-p or top-k a sample then records the ids that each token was
    drawn from and its log-prob among them, so that the trainer scores the same distribution.
    Without it log-probs are those before any warp. The last two are for evaluation alone: they
    depend on the text so far and cannot be replayed.
    """

    temperature: float = 1.0
    max_tokens: int = 512
    stop: tuple[str, ...] = ()
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    replay: bool = False

    def __post_init__(self) -> None:
        assert not (self.replay and self.looks_back), "a repetition penalty cannot be replayed"

    @property
    def looks_back(self) -> bool:
        """Whether a token depends on those so far in another way than by the model."""
        return self.repetition_penalty != 1 or self.no_repeat_ngram_size > 0

    @property
    def warped(self) -> bool:
        """Whether anything besides the temperature changes the distribution."""
        return self.top_p < 1 or self.top_k > 0 or self.looks_back

    @property
    def truncates(self) -> bool:
        """Whether samples must say what they were drawn from."""
        return self.replay and self.warped


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine can do; preflight and loop ask this and know no engine by name.

    exact_streams: a sample is a function of (seed, step, problem, member) and the weights, whatever
    stands beside it; without it no resume repeats samples. replay: under top-p and top-k samples
    say what each token was drawn from. versions: whether one sample may mix weights ("token") or
    not ("sample"). abort: closing the iterator of `generate` ends the work behind it. weights: how
    it takes new ones: reads the policy's ("live"), copies tensors, or loads a folder.
    """

    exact_streams: bool
    replay: bool
    versions: Literal["sample", "token"]
    abort: bool
    weights: Literal["live", "tensors", "folder"]


class Engine(Protocol):
    """Generates completions and takes new weights."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do; the same at any time."""
        ...

    def generate(
        self,
        prompts: Sequence[Prompt],
        group_size: int,
        params: SamplingParams,
        seed: int,
        step: int,
    ) -> Generator[Sample, None, None]:
        """Yield each sample of every group once, as soon as it ends (any order).

        One that cannot be finished is yielded too, with finish "error", its reason and what there
        is of it. An engine that is gone altogether raises PawlError (exit 4, resumable).
        """
        ...

    def sync_weights(self, policy: Policy, version: int) -> None:
        """Use the policy's current weights from now on; samples carry `version`."""
        ...


def uniforms(seed: int, step: int, problem_id: str, member: int, n: int) -> np.ndarray:
    """The first n uniforms in [0, 1), float64, of one completion's stream."""
    key = hashlib.sha256(f"{seed}/{step}/{problem_id}/{member}".encode()).digest()[:16]
    bits = np.random.Philox(key=int.from_bytes(key, "little"))
    return np.random.Generator(bits).random(n)
