"""What judgements cost and may cost: prices, and a budget that reserves before it settles.

The most that an attempt can cost is reserved before it is sent, so that what is charged never
exceeds the cap, whatever is in flight. A token is at least a byte of text, so the bytes of a
request bound its tokens from above. Left out: who bills (`ledger.py`).
"""

from __future__ import annotations

import asyncio
import tomllib
from dataclasses import dataclass
from pathlib import Path

from pawl.config.judge import JudgeConfig
from pawl.errors import PawlError
from pawl.judge.wire import Usage

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
        return (
            max(map(self.usd, classes))
            + self.usd(Usage(prompt, output=output))
            - self.usd(Usage(prompt))
        )


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
        self._caps = (max_tokens or float("inf"), max_usd or float("inf"))
        self._charged: tuple[float, float] = charged
        self._reserved = (0.0, 0.0)
        self._flying = 0
        self._changed = asyncio.Condition()

    def _fits(self, tokens: float, usd: float, reserved: tuple[float, float]) -> bool:
        sums = zip(self._charged, reserved, (tokens, usd), self._caps, strict=True)
        return all(a + b + c <= cap for a, b, c, cap in sums)

    async def reserve(self, tokens: int, usd: float) -> bool:
        """Set the worst case aside; False if it cannot fit even when all in flight cost nothing.

        Waits for what is in flight where its settling may make room.
        """
        async with self._changed:
            while not self._fits(tokens, usd, self._reserved):
                if not self._flying or not self._fits(tokens, usd, (0.0, 0.0)):
                    return False
                await self._changed.wait()
            self._reserved = (self._reserved[0] + tokens, self._reserved[1] + usd)
            self._flying += 1
            return True

    async def settle(self, reserved: tuple[int, float], charged: tuple[int, float]) -> None:
        """Turn a reservation into what was charged."""
        async with self._changed:
            self._flying -= 1
            left = (self._reserved[0] - reserved[0], self._reserved[1] - reserved[1])
            self._reserved = left if self._flying else (0.0, 0.0)  # no rest of rounding
            self._charged = (self._charged[0] + charged[0], self._charged[1] + charged[1])
            self._changed.notify_all()
