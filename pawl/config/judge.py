"""Options of a judge: a teacher model that scores completions.

One section, counted apart from the options of a run. Rules across options stand in a validator;
which servers may be reached, and with which key, is `pawl.judge.access`. Left out: the rubric,
which is a file of its own (`pawl.judge.rubric`).
"""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from pawl.config.section import Section, opt


class JudgeConfig(Section):
    """A teacher model: where it is, how it is asked, and what it may cost."""

    api: Literal["local", "messages", "chat", "responses", "decisions"] = opt(
        "local", "local is a model on this machine; the others are wire formats (docs/teacher.md)."
    )
    model: str = opt("", "Name at the provider; of a local judge a folder or hub name.")
    revision: str = opt("", "Hub revision of a local judge; empty takes the newest.")
    device: str = opt("auto", "Of a local judge: auto, cpu, cuda or cuda:N.")
    base_url: str = opt("", "Server of an OpenAI- or Anthropic-like API; empty is the provider's.")
    allow_base_url: bool = opt(False, "Allow a base_url that is not the provider's and not local.")
    key_env: str = opt("", "Environment variable of the key; empty: the provider's own, or none.")
    terms_acknowledged: bool = opt(False, "The provider's terms allow training on its answers.")
    rubric: str = opt("code", "code, or a TOML file with criteria, levels and weights.")
    mode: Literal["listwise", "pointwise", "pairwise"] = opt(
        "listwise", "One call a group, one a completion, or one a pair of completions."
    )
    check_every: int = opt(
        20, "Steps between checks of the judge itself; 0: before training alone.", "steps", ge=0
    )
    repeats: float = opt(
        0.05, "Groups that are graded again, to measure the judge's noise.", "share", ge=0, le=1
    )
    passes: int = opt(1, "Repetitions in other orders, averaged.", "calls", ge=1, le=16)
    baseline: bool = opt(
        False, "Grade each problem's reference once too, to compare with (judge/teacher_*)."
    )
    effort: Literal["", "low", "medium", "high"] = opt("", "Reasoning effort; empty sends none.")
    temperature: float | None = opt(None, "For compatible chat servers; others take none.", ge=0)
    logprobs: bool = opt(True, "Read levels as distributions where the server gives log-probs.")
    max_output_tokens: int = opt(2048, "Of an answer, reasoning too.", "tokens", ge=16, le=131072)
    context_tokens: int = opt(
        8192, "Longest prompt; the probe proves that it is read.", "tokens", ge=256, le=1_000_000
    )
    in_flight: int = opt(64, "Judgements at a time.", "calls", ge=1, le=1024)
    attempt_s: float = opt(25.0, "Longest wait for one answer.", "s", gt=0, le=600)
    deadline_s: float = opt(180.0, "Of one judgement, retries included.", "s", gt=0, le=3600)
    attempts: int = opt(8, "Attempts at one judgement.", "calls", ge=1, le=32)
    retry_after_s: float = opt(30.0, "Longest wait asked for that is kept.", "s", ge=0, le=600)
    outage_s: float = opt(20.0, "Failures without a success that stop a run.", "s", gt=0, le=3600)
    defer_s: float = opt(
        60.0,
        "How long a group is asked for again after failures that may pass.",
        "s",
        ge=0,
        le=7200,
    )
    max_usd: float = opt(5.0, "Most that all judgements may cost; 0 is no limit.", "USD", ge=0)
    max_tokens: int = opt(0, "Most tokens, input and output; 0 is no limit.", "tokens", ge=0)
    prices: tuple[float, ...] = opt(
        (), "Of input, output, cached input and cache writes; empty looks them up.", "USD/M tokens"
    )

    @model_validator(mode="after")
    def _fits(self) -> JudgeConfig:
        if self.temperature is not None and self.api != "chat":
            raise ValueError("temperature is for compatible chat servers; leave it out")
        if self.attempt_s > self.deadline_s:
            raise ValueError(f"attempt_s = {self.attempt_s:g} exceeds deadline_s")
        if len(self.prices) not in (0, 4) or min(self.prices, default=0.0) < 0:
            raise ValueError("prices are four numbers: input, output, cached input, cache writes")
        if self.mode == "pairwise" and self.passes % 2:
            raise ValueError("pairwise needs an even number of passes: each pair in both orders")
        return self
