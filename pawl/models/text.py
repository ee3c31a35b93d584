"""From a problem to the tokens that the model continues, and from tokens back to text.

Prompt and completion are tokenised apart, in sampling, scoring and supervised training alike, so
the boundary between them is fixed (a tokenizer may otherwise merge the newline that ends a
prompt with the indentation that opens the answer, which the model then never saw in training).
Left out: truncation; a prompt that is too long is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime, time
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, TemplateError, meta

from pawl.config.sources import PromptConfig
from pawl.errors import PawlError
from pawl.problems.wording import squeezed
from pawl.types import Message, Problem

SHIPPED = Path(__file__).parent / "prompts"
# What a template may raise, being a program; what is given to it, beside the user's arguments.
RAISED = (
    *(TemplateError, ArithmeticError, AssertionError, AttributeError, LookupError),
    *(NameError, RuntimeError, TypeError, ValueError),
)
GIVEN = {"messages", "tools", "documents", "add_generation_prompt", "raise_exception"}
GIVEN |= {"strftime_now", "namespace", "range", "dict", "lipsum", "cycler", "joiner", "undefined"}
GIVEN |= {f"{name}_token" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask", "image")}
GENERATION = re.compile(r"\{%-?\s*(?:end)?generation\s*-?%\}")
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


class Form(NamedTuple):
    """What became of `prompts` prompts: how many have a fault, by fault.

    doubled, unopened: two BOS at the start; none, though the tokenizer begins text with one.
    systems, users: prompts that lack their system message, or their last user message. first: id
    of the first problem whose prompt lacks a message, "" for none.
    """

    prompts: int
    doubled: int
    unopened: int
    systems: int
    users: int
    first: str

    def remarks(self) -> list[str]:
        """The faults, one line each."""
        told = [
            (self.doubled, "begin with two BOS tokens"),
            (self.unopened, "begin without the tokenizer's BOS token"),
            (self.systems, "lack their system message: the chat template drops it"),
            (self.users, "lack their last user message: the chat template drops it"),
        ]
        return [f"{n} of {self.prompts} prompts {what}" for n, what in told if n]


class PromptEncoder:
    """Renders problems with one template and one tokenizer; same settings give same tokens.

    today: the day that chat templates print where the config names none, YYYY-MM-DD; "" is the day
    of this call. reads_date: whether the chat template in use asks for it.
    """

    def __init__(self, tokenizer: Any, cfg: PromptConfig, today: str = "") -> None:
        """Raises PawlError for an unreadable template, chat without one, or idle arguments."""
        self.tokenizer, self.cfg = tokenizer, cfg
        self.template = read_template(cfg.template) if cfg.template else ""
        has_chat = bool(getattr(tokenizer, "chat_template", None))
        if cfg.chat == "always" and not has_chat:
            hint = "use chat: auto or never, or a tokenizer with a chat template"
            raise PawlError("the tokenizer has no chat template", "prompt.chat", hint)
        self.chat = has_chat and cfg.chat != "never"
        read = _read_by(tokenizer) if self.chat else frozenset()
        idle = sorted(set(cfg.template_args) - (read - GIVEN))
        if idle:
            names = ", ".join(sorted(read - GIVEN)) or "none"
            hint = f"it reads {names}" if self.chat else "the prompt is made without chat template"
            what = f"the chat template reads no argument {', '.join(idle)}"
            raise PawlError(what, "prompt.template_args", hint)
        self.reads_date = "strftime_now" in read
        self.date = date.fromisoformat(cfg.date or today or date.today().isoformat())

    def render(self, problem: Problem) -> str:
        """The text that the model reads. Raises PawlError for chat messages without a template."""
        if not self.chat:
            return self._plain(problem)
        try:
            text = self.tokenizer.apply_chat_template(
                [{"role": turn.role, "content": turn.content} for turn in self._turns(problem)],
                tokenize=False,
                add_generation_prompt=True,
                **self.arguments,
            )
        except RAISED as error:
            kind = "" if isinstance(error, TemplateError) else f"{type(error).__name__}: "
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            what = f"the chat template refuses problem {problem.id}: {kind}{first}"
            hint = "leave prompt.system empty, mend the roles or prompt.template_args"
            raise PawlError(what, problem.where, hint) from error
        return str(text)

    @property
    def arguments(self) -> dict[str, Any]:
        """What the chat template is given beside the turns."""
        return {"strftime_now": datetime.combine(self.date, time()).strftime} | dict(
            self.cfg.template_args
        )

    def _turns(self, problem: Problem) -> list[Message]:
        """What the chat template is given."""
        turns = list(problem.messages) or [Message("user", problem.prompt)]
        if self.template:
            last = _last_user(turns)
            turns[last] = Message(turns[last].role, self._fill(problem, turns[last].content))
        if self.cfg.system and turns[0].role != "system":
            turns.insert(0, Message("system", self.cfg.system))
        return turns

    def form(self, problems: Sequence[Problem]) -> Form:
        """What prompts lack that they should have, and have twice; raises as `encode`."""
        bos = self.tokenizer.bos_token_id
        opens = bos is not None and self.tokenizer("a")["input_ids"][:1] == [bos]
        ids = self.encode_many(problems)
        doubled = sum(bos is not None and row[:2] == (bos, bos) for row in ids)
        unopened = sum(row[0] != bos for row in ids) if opens else 0
        systems, users = list[str](), list[str]()
        for problem in problems if self.chat else ():
            text, turns = squeezed(self.render(problem)), self._turns(problem)
            if turns[0].role == "system" and squeezed(turns[0].content) not in text:
                systems.append(problem.id)
            if squeezed(turns[_last_user(turns)].content) not in text:
                users.append(problem.id)
        first = next(iter([*users, *systems]), "")
        return Form(len(problems), doubled, unopened, len(systems), len(users), first)

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


def _last_user(turns: Sequence[Message]) -> int:
    """Place of the last turn of the user, 0 without one."""
    return max(i for i, turn in enumerate(turns) if turn.role == "user" or i == 0)


def _read_by(tokenizer: Any) -> frozenset[str]:
    """Names that a chat template takes from outside; raises PawlError where it is no template."""
    try:
        # {% generation %} is a tag of transformers' own, without names
        text = GENERATION.sub("", tokenizer.get_chat_template())
        tree = Environment(extensions=["jinja2.ext.loopcontrols"]).parse(text)
    except (TemplateError, ValueError) as error:
        what = f"the tokenizer's chat template cannot be read: {error}"
        raise PawlError(what, "prompt.chat", "mend it, or set prompt.chat=never") from error
    return frozenset(meta.find_undeclared_variables(tree))


def _stated(problem: Problem) -> dict[str, str]:
    """Head, signature and entry point; of a problem without tests what its row says, if it does."""
    names = ("head", "signature", "entry_point")
    if problem.code is not None:
        return {name: getattr(problem.code, name) for name in names}
    found = {name: problem.metadata.get(name) for name in names}
    return {name: text if isinstance(text, str) else "" for name, text in found.items()}
