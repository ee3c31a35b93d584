"""What judgements cost and may cost: prices, and a budget that reserves before it settles.

The most that an attempt can cost is reserved before it is sent, so that what is charged never
exceeds the cap, whatever is in flight. A token is at least a byte of text, so the bytes of a
request bound its tokens from above. Left out: who bills (`ledger.py`).
"""

from __future__ import annotations

import asyncio
import math
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from pawl.config.judge import JudgeConfig
from pawl.errors import PawlError
from pawl.judge.wire import Kind, Usage

TABLE = Path(__file__).parent / "prices.toml"
OVERHEAD = 1000  # tokens that a provider may add: a schema's instructions, turn markers


@dataclass(frozen=True, slots=True)
class Price:
    """USD per million tokens; beyond `long_from` prompt tokens all times `long_factor`."""

    input: float = 0.0
    output: float = 0.0
    cache_read: float = 0.0
    cache_write: float = 0.0
    long_from: int = 10**9
    long_factor: float = 1.0

    def usd(self, u: Usage) -> float:
        """What these tokens cost."""
        prompt = u.uncached + u.cache_read + u.cache_write
        cost = u.uncached * self.input + u.output * self.output
        cost += u.cache_read * self.cache_read + u.cache_write * self.cache_write
        return cost * (self.long_factor if prompt > self.long_from else 1.0) / 1e6

    def most(self, prompt: int, output: int) -> float:
        """The most that so many tokens can cost, however the prompt meets a cache."""
        classes = (Usage(prompt), Usage(0, prompt), Usage(0, 0, prompt))
        return max(self.usd(u + Usage(output=output)) for u in classes)


def price_of(cfg: JudgeConfig, hosted: bool) -> Price:
    """The options' price, or the table's. Raises PawlError for a hosted model that has none."""
    if cfg.prices:
        given, output, read, write = cfg.prices
        return Price(given, output, read, write)
    table = tomllib.loads(TABLE.read_text("utf-8"))
    if cfg.model in table:
        return Price(**table[cfg.model])
    if hosted and cfg.max_usd:
        hint = "set judge.prices, or judge.max_usd: 0 for no limit"
        raise PawlError(f"the price of {cfg.model} is not in the table", "judge.max_usd", hint)
    return Price()


class Budget:
    """Tokens and USD against their caps (0 for none); of one event loop.

    charged: what earlier attempts of this run came to.
    """

    def __init__(self, max_usd: float, max_tokens: int, charged: tuple[int, float]) -> None:
        self._caps = (max_tokens or math.inf, max_usd or math.inf)
        self._charged, self._reserved = charged, Counter[tuple[int, float]]()
        self._changed = asyncio.Event()

    def _fits(self, worst: tuple[int, float], waiting: bool) -> bool:
        """waiting: what is in flight counts with its worst case, else with nothing."""
        held = self._reserved.elements() if waiting else ()
        sums = map(sum, zip(self._charged, worst, *held, strict=True))
        return all(s <= cap for s, cap in zip(sums, self._caps, strict=True))

    async def reserve(self, worst: tuple[int, float], seconds: float) -> Kind:
        """Set the worst case (tokens, USD) aside: ok; budget if it cannot fit; timeout.

        Waits for what is in flight where its settling may make room.
        """
        try:
            async with asyncio.timeout(seconds):
                while not self._fits(worst, waiting=True):
                    if not self._reserved.total() or not self._fits(worst, waiting=False):
                        return "budget"
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return "timeout"
        self._reserved[worst] += 1
        return "ok"

    def settle(self, worst: tuple[int, float], tokens: int, usd: float) -> None:
        """Turn a reservation into what was charged."""
        self._reserved[worst] -= 1
        self._charged = (self._charged[0] + tokens, self._charged[1] + usd)
        self._changed.set()
