"""Supervised examples: read them, tokenise them, plan the batches of a run, pack rows.

A line is {"prompt": ..., "completion": ...}, of text or of chat turns, or {"messages": [...]} whose
last turn is the assistant's. Prompt and completion are tokenised apart, as in sampling. Left out:
streaming; a set is held in memory as tokens.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pawl.config.options import SftConfig
from pawl.errors import PawlError, PawlErrors
from pawl.models.text import PromptEncoder, completion_ids
from pawl.problems.cases import BadProblem
from pawl.problems.chat import read_turns
from pawl.problems.columns import FIELDS
from pawl.problems.formats import require_text
from pawl.types import Message, Problem

LAYOUT = 'each line is {"prompt": ..., "completion": ...} or {"messages": [...]}'
SHOWN_ERRORS = 10
READ_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class Example:
    """Tokens of one example: the loss is taken on `completion` (its EOS included) alone."""

    prompt: tuple[int, ...]
    completion: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.completion)


def read_lines(path: Path) -> list[tuple[Problem, str]]:
    """Prompts and completions of a JSONL file. Raises PawlErrors with the line numbers."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # and at no other line end
    except (OSError, UnicodeDecodeError) as error:
        raise PawlError(f"cannot read the data: {error}", "data", LAYOUT) from error
    pairs, errors = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            pairs.append(_pair(json.loads(line), f"{path}:{number}"))
        except BadProblem as error:
            errors.append(PawlError(str(error), f"{path}:{number}", LAYOUT))
        except (ValueError, RecursionError) as error:
            errors.append(PawlError(f"not JSON: {error}", f"{path}:{number}", LAYOUT))
    if errors:
        raise PawlErrors(errors[:SHOWN_ERRORS])
    if not pairs:
        raise PawlError("the data holds no example", str(path), LAYOUT)
    return pairs


def _pair(row: object, where: str) -> tuple[Problem, str]:
    """Prompt and completion of one line; raises BadProblem."""
    if not isinstance(row, dict):
        raise BadProblem("not an example: the line is no object")
    prompt, completion = row.get("prompt"), row.get("completion")
    turns = next((row[name] for name in FIELDS["messages"] if name in row), None)
    if isinstance(prompt, list) and isinstance(completion, list):
        turns = [*prompt, *completion]
    if turns is not None:
        if not isinstance(turns, list):
            raise BadProblem("not an example: messages is no list")
        *asked, last = read_turns(turns, "messages") or [Message("", "")]
        if not asked or last.role != "assistant":
            raise BadProblem("not an example: the last turn must be the assistant's")
        problem, answer = Problem(where, "", messages=tuple(asked), where=where), last.content
    else:
        head = row.get("head") or ""
        if not (isinstance(prompt, str) and isinstance(completion, str) and isinstance(head, str)):
            raise BadProblem("not an example: prompt and completion must be text")
        problem, answer = Problem(where, prompt, metadata={"head": head}, where=where), completion
    if not answer:
        raise BadProblem("not an example: the completion is empty")
    require_text(problem, answer)
    return problem, answer


def tokenise(
    pairs: Sequence[tuple[Problem, str]], encoder: PromptEncoder, eos: int | None, limit: int
) -> tuple[list[Example], int]:
    """Examples of at most `limit` tokens, and how many longer ones were left out."""
    every, end = list[Example](), () if eos is None else (eos,)
    for start in range(0, len(pairs), READ_AT_ONCE):
        part = pairs[start : start + READ_AT_ONCE]
        prompts = encoder.encode_many([problem for problem, _ in part])
        answers = completion_ids(encoder.tokenizer, [text for _, text in part])
        rows = zip(prompts, answers, strict=True)
        every += [Example(prompt, (*answer, *end)) for prompt, answer in rows]
    examples = [example for example in every if len(example) <= limit]
    if not examples:
        raise PawlError(f"every example is longer than seq_len = {limit}", "seq_len", "raise it")
    return examples, len(every) - len(examples)


def plan(examples: Sequence[Example], cfg: SftConfig) -> list[list[int]]:
    """Indices of the examples of every optimiser step, by seed: about batch_tokens tokens each."""
    draw = np.random.default_rng(cfg.seed)
    sizes = [len(example) for example in examples]
    passes = math.inf if cfg.steps else cfg.epochs
    batches, batch, tokens = list[list[int]](), list[int](), 0
    for index in _order(len(examples), passes, draw):
        if batch and tokens + sizes[index] > cfg.batch_tokens:
            batches.append(batch)
            batch, tokens = [], 0
            if cfg.steps and len(batches) == cfg.steps:
                return batches
        batch.append(index)
        tokens += sizes[index]
    return [*batches, batch] if batch else batches


def _order(count: int, passes: float, draw: np.random.Generator) -> Iterator[int]:
    """Indices in a fresh order for each pass; the last pass may be a part."""
    while passes > 0:
        order = draw.permutation(count)
        yield from order[: math.ceil(count * min(1.0, passes))].tolist()
        passes -= 1


def pack(examples: Sequence[Example], width: int, packing: bool) -> list[list[Example]]:
    """Rows of examples that fit `width` together, longest first; one each without packing."""
    if not packing:
        return [[example] for example in examples]
    rows = list[list[Example]]()
    for example in sorted(examples, key=len, reverse=True):
        fitting = (row for row in rows if sum(map(len, row)) + len(example) <= width)
        row = next(fitting, None)
        if row is None:
            rows.append(row := [])
        row.append(example)
    return rows
