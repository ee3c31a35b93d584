"""From a problem to the tokens that the model continues, and from tokens back to text.

Prompt and completion are tokenised apart, in sampling, scoring and supervised training alike, so
the boundary between them is fixed (a tokenizer may otherwise merge the newline that ends a
prompt with the indentation that opens the answer, which the model then never saw in training).
Left out: truncation; a prompt that is too long is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from pawl.config.options import PromptConfig
from pawl.errors import PawlError
from pawl.types import Message, Problem

SHIPPED = Path(__file__).parent / "prompts"
BLANK = "\u2581"  # how SentencePiece writes one
OPENERS = ("\n", ":", "a")  # what a completion is tokenised after; one may melt into its beginning
FIELD = re.compile(r"\{(prompt|head|signature|entry_point)\}")


def decode(tokenizer: Any, tokens: Sequence[int], special: bool = False) -> str:
    """The text of sampled tokens as it continues a prompt, spaces untouched.

    special: spell out special tokens, which are left out otherwise. Tokenizers of SentencePiece's
    kind drop a blank at the start of what they decode, so there the tokens are read after others.
    """
    before, known = _context(tokenizer)
    text: str = tokenizer.decode(
        [*before, *tokens], skip_special_tokens=not special, clean_up_tokenization_spaces=False
    )
    return text[len(known) :]


def completion_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Tokens of completions, as each continues a prompt: no BOS, no EOS, no blank put before."""
    rows: list[list[int]] = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    if not _context(tokenizer)[0]:
        return rows
    for opener in reversed(OPENERS):  # the first that stays itself before a text counts
        head = tokenizer(opener, add_special_tokens=False)["input_ids"]
        after = tokenizer([opener + text for text in texts], add_special_tokens=False)["input_ids"]
        for i, row in enumerate(after):
            if row[: len(head)] == head:
                rows[i] = row[len(head) :]
    return rows


@lru_cache(maxsize=4)
def _context(tokenizer: Any) -> tuple[tuple[int, ...], str]:
    """Tokens to decode a continuation after, and their text; nothing where none are needed."""
    blanks = sorted((p for p in tokenizer.get_vocab() if p.startswith(BLANK)), key=len)[:1]
    if not blanks or tokenizer.decode(tokenizer.convert_tokens_to_ids(blanks)).startswith(" "):
        return (), ""
    ids = tokenizer("a", add_special_tokens=False)["input_ids"]
    return tuple(ids), tokenizer.decode(ids, clean_up_tokenization_spaces=False)


def read_template(name: str) -> str:
    """Text of a template: a shipped name or a path. It must hold {prompt}."""
    shipped = SHIPPED / f"{name}.txt"
    path = shipped if shipped.is_file() else Path(name).expanduser()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        names = ", ".join(sorted(p.stem for p in SHIPPED.glob("*.txt")))
        what = f"cannot read the prompt template {name}"
        raise PawlError(what, "prompt.template", f"a path, or one of: {names}") from error
    if "{prompt}" not in text:
        hint = "put {prompt} where the task belongs ({head}, {signature}, {entry_point} exist too)"
        raise PawlError(f"the prompt template {name} has no {{prompt}}", "prompt.template", hint)
    return text


class PromptEncoder:
    """Renders problems with one template and one tokenizer; same settings give same tokens."""

    def __init__(self, tokenizer: Any, cfg: PromptConfig) -> None:
        """Raises PawlError for an unreadable template, or chat without a chat template."""
        self.tokenizer, self.cfg = tokenizer, cfg
        self.template = read_template(cfg.template) if cfg.template else ""
        has_chat = bool(getattr(tokenizer, "chat_template", None))
        if cfg.chat == "always" and not has_chat:
            hint = "use chat: auto or never, or a tokenizer with a chat template"
            raise PawlError("the tokenizer has no chat template", "prompt.chat", hint)
        self.chat = has_chat and cfg.chat != "never"

    def render(self, problem: Problem) -> str:
        """The text that the model reads. Raises PawlError for chat messages without a template."""
        if not self.chat:
            return self._plain(problem)
        turns = list(problem.messages) or [Message("user", problem.prompt)]
        if self.template:
            last = max(i for i, turn in enumerate(turns) if turn.role == "user" or i == 0)
            text = self._fill(problem, turns[last].content)
            turns[last] = Message(turns[last].role, text)
        if self.cfg.system and turns[0].role != "system":
            turns.insert(0, Message("system", self.cfg.system))
        try:
            text = self.tokenizer.apply_chat_template(
                [{"role": turn.role, "content": turn.content} for turn in turns],
                tokenize=False,
                add_generation_prompt=True,
            )
        except (TemplateError, ValueError) as error:
            what = f"the chat template refuses problem {problem.id}: {error}"
            raise PawlError(
                what, problem.where, "leave prompt.system empty, or mend the roles"
            ) from (error)
        return str(text)

    def encode(self, problem: Problem) -> tuple[int, ...]:
        """Prompt tokens. Raises PawlError for a prompt that is empty or above max_tokens."""
        return self.encode_many([problem])[0]

    def encode_many(self, problems: Sequence[Problem]) -> list[tuple[int, ...]]:
        """Prompt tokens of each problem, tokenised in one call; raises as `encode`."""
        texts = [self.render(problem) for problem in problems]
        batch = self.tokenizer(texts, add_special_tokens=not self.chat)["input_ids"]
        return [self._check(*row) for row in zip(problems, texts, batch, strict=True)]

    def _check(self, problem: Problem, text: str, ids: list[int]) -> tuple[int, ...]:
        eos = self.tokenizer.eos_token_id
        if not self.chat and ids and ids[-1] == eos and not text.endswith(self.tokenizer.eos_token):
            ids.pop()
        if not ids:
            raise PawlError(f"the prompt of problem {problem.id} is empty", problem.where)
        if len(ids) > self.cfg.max_tokens:
            raise PawlError(
                f"the prompt of problem {problem.id} has {len(ids)} tokens, more than "
                f"prompt.max_tokens = {self.cfg.max_tokens}",
                problem.where or "prompt.max_tokens",
                "raise prompt.max_tokens or filter by problems.filter.max_prompt_chars",
            )
        return tuple(ids)

    def _plain(self, problem: Problem) -> str:
        task = problem.prompt
        if problem.messages:
            if not self.template:
                what = f"problem {problem.id} holds chat messages, the model has no chat template"
                hint = "set prompt.template (a file with {prompt}), or take a chat model"
                raise PawlError(what, problem.where or "prompt.template", hint)
            task = "\n\n".join(turn.content for turn in problem.messages)
        if self.cfg.system:
            task = f"{self.cfg.system}\n\n{task}"
        return self._fill(problem, task) if self.template else task

    def _fill(self, problem: Problem, task: str) -> str:
        values = {"prompt": task, **_stated(problem)}
        return FIELD.sub(lambda match: values[match.group(1)], self.template)


def _stated(problem: Problem) -> dict[str, str]:
    """Head, signature and entry point; of a problem without tests what its row says, if it does."""
    names = ("head", "signature", "entry_point")
    if problem.code is not None:
        return {name: getattr(problem.code, name) for name in names}
    found = {name: problem.metadata.get(name) for name in names}
    return {name: text if isinstance(text, str) else "" for name, text in found.items()}
