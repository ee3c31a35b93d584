"""Special tokens: a pad token distinct from every EOS, the user's own, safe new embedding rows.

A new row is the mean of the old ones, in the input and in the output embedding: by Jensen's
inequality the mean logit gives the new token a probability of at most 1 / (V + 1), so a base
model's behaviour does not jump. Left out: removing tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from tokenizers import AddedToken

from pawl.models.text import RAISED

PAD = "<|pad|>"
ANSWER = "0123456789"  # an answer that no template changes


def eos_ids(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """Every id that ends a completion, by the generation config, the config and the tokenizer."""
    found: list[Any] = [tokenizer.eos_token_id]
    for config in (model.generation_config, model.config):
        value = getattr(config, "eos_token_id", None)
        found += value if isinstance(value, list | tuple) else [value]
    return tuple(dict.fromkeys(int(token) for token in found if token is not None))


def turn_end(tokenizer: Any, arguments: Mapping[str, Any]) -> tuple[str, str]:
    """What the chat template writes after an answer, and the first special token in it.

    Both empty without a template, or with one that takes no plain turn of user and assistant.
    arguments: what it is given beside the turns (`PromptEncoder.arguments`).
    """
    if not getattr(tokenizer, "chat_template", None):
        return "", ""
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": ANSWER}]
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False, **arguments)
    except RAISED:
        return "", ""
    after = str(text).rpartition(ANSWER)[2]
    names = [t.content for t in tokenizer.added_tokens_decoder.values() if t.special]
    return after, min((n for n in names if n in after), key=after.index, default="")


def ensure_pad(tokenizer: Any, ends: tuple[int, ...]) -> list[str]:
    """Give the tokenizer a pad token that ends nothing; returns notes on what was added."""
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id not in ends:
        return []
    old = tokenizer.pad_token
    tokenizer.add_special_tokens({"pad_token": PAD})
    why = "the tokenizer had none" if old is None else f"{old} also ends completions"
    return [f"pad token {PAD} added (id {tokenizer.pad_token_id}): {why}"]


def add_tokens(tokenizer: Any, names: tuple[str, ...]) -> tuple[list[int], list[str]]:
    """Add the user's special tokens; returns their ids (old ones too) and notes."""
    before = len(tokenizer)
    new = [AddedToken(name, special=True, normalized=False) for name in names]
    added = tokenizer.add_tokens(new, special_tokens=True) if new else 0
    ids = [int(tokenizer.convert_tokens_to_ids(name)) for name in names]
    assert len(tokenizer) == before + added
    return ids, [f"{added} special tokens added"] if added else []


@torch.no_grad()
def grow(model: Any, rows: int) -> list[str]:
    """Make room for `rows` tokens; new rows are the mean of the old ones.

    An embedding that already has the room is not resized (padded vocabularies stay as they are).
    """
    old = model.get_input_embeddings().weight.shape[0]
    if rows <= old:
        return []
    model.resize_token_embeddings(rows, mean_resizing=False)
    layers = [model.get_input_embeddings(), model.get_output_embeddings()]
    for layer in {id(layer.weight): layer for layer in layers if layer is not None}.values():
        layer.weight[old:] = layer.weight[:old].float().mean(0).to(layer.weight.dtype)
        bias = getattr(layer, "bias", None)
        if bias is not None:
            bias[old:] = bias[:old].float().mean().to(bias.dtype)
    return [f"embeddings resized from {old} to {rows} rows"]
