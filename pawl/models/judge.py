"""A causal LM of this machine as a judge: the distribution over levels after one forward pass.

The prompt that all questions of a request share is read once, and each question continues from its
keys and values; nothing is generated. Special tokens in what is graded are taken apart, so that a
candidate cannot close its own turn. Left out: what is asked (`pawl.judge.contract`), keeping
verdicts (`pawl.judge.client`).
"""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pawl.errors import PawlError
from pawl.models.source import pick_device, read_model, read_tokenizer, resolve

ANSWER = "Level:"  # what the model is made to continue
MAX_LEVELS = 10
TOGETHER = 8  # questions that continue one prompt at once, each with a copy of its cache


class LevelReader:
    """Reads levels off a model; see the module. It is used by one thread at a time.

    Raises PawlError when the model cannot be read, or writes some level in no token of its own.
    """

    def __init__(self, path: str, revision: str = "", device: str = "auto") -> None:
        source, self._device = resolve(path), pick_device(device)
        dtype = torch.float32 if self._device.type == "cpu" else torch.bfloat16
        self.tokenizer = read_tokenizer(source, revision, "judge.model")
        self.model = read_model(source, revision, dtype).to(self._device).eval()
        commit = getattr(self.model.config, "_commit_hash", None) or ""  # of a hub model
        self.fingerprint = f"{path} {revision}{commit} {_weights(source)} {dtype}"
        self._special = [t for t in self.tokenizer.all_special_tokens if len(t) > 1]
        self._labels = self._label_ids()

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _label_ids(self) -> tuple[list[int], list[int]]:
        """(tokens that open an answer, the first token of each level that differs after them)."""
        for space in (" ", "", "\n"):  # vocabularies differ in what they join to a digit
            rows = [self._ids(f"\n{ANSWER}{space}{level}") for level in range(MAX_LEVELS)]
            shared = len(os.path.commonprefix(rows))
            labels = [row[shared] for row in rows if len(row) > shared]
            if len(set(labels)) == MAX_LEVELS:
                return rows[0][:shared], labels
        hint = "take a model whose tokenizer keeps digits apart"
        raise PawlError("the tokenizer has no token for each level", "judge.model", hint)

    def _plain(self, text: str) -> str:
        """A text whose special tokens are ordinary ones."""
        for token in self._special:
            text = text.replace(token, f"{token[0]} {token[1:]}")
        return text

    def _prompt(self, system: str, user: str) -> list[int]:
        system, user = self._plain(system), self._plain(user)
        if self.tokenizer.chat_template:
            turns = [{"role": "system", "content": system}, {"role": "user", "content": user}]
            text = self.tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=True
            )
        else:
            bos = self.tokenizer.bos_token or ""
            text = f"{bos}{system}\n\n{user}\n"
        return self._ids(text) + self._labels[0]

    @torch.inference_mode()
    def levels(
        self, system: str, prompt: str, questions: Sequence[tuple[str, int]], context: int
    ) -> tuple[list[tuple[float, ...]], int]:
        """(a distribution over the levels of each question, tokens read).

        questions: what follows the prompt, with its number of levels. context: the longest prompt
        in tokens; raises ValueError for a longer one, which is never cut.
        """
        rows = [self._prompt(system, f"{prompt}\n\n{text}") for text, _ in questions]
        longest = max(map(len, rows))
        room = getattr(self.model.config, "max_position_embeddings", None) or context
        if longest > min(room, context):
            raise ValueError(f"{longest} tokens of prompt, room for {min(room, context)}")
        shared = min(len(os.path.commonprefix(rows)), min(map(len, rows)) - 1)
        tails = [row[shared:] for row in rows]
        cache: Any = None
        if shared:
            prefix = torch.tensor([rows[0][:shared]], device=self._device)
            cache = self.model(prefix, use_cache=True, logits_to_keep=1).past_key_values
        last_NV = torch.cat(
            [
                self._last(tails[i : i + TOGETHER], shared, copy.deepcopy(cache))
                for i in range(0, len(tails), TOGETHER)
            ]
        )
        found = [
            tuple(torch.softmax(row[self._labels[1][:count]], 0).tolist())
            for row, (_, count) in zip(last_NV, questions, strict=True)
        ]
        return found, shared + sum(map(len, tails))

    def _last(self, tails: Sequence[list[int]], shared: int, cache: Any) -> torch.Tensor:
        """Logits [N, V] after each of N tails, which continue `shared` tokens in the cache."""
        n, width = len(tails), max(map(len, tails))
        pad = self.tokenizer.pad_token_id or 0
        ids_NT = torch.tensor([t + [pad] * (width - len(t)) for t in tails], device=self._device)
        lengths_N = torch.tensor([len(t) for t in tails], device=self._device)
        real_NT = torch.arange(width, device=self._device) < lengths_N[:, None]
        mask = torch.cat([torch.ones_like(ids_NT[:, :1]).expand(n, shared), real_NT.long()], 1)
        if cache is not None:
            cache.batch_repeat_interleave(n)
        positions = shared + torch.arange(width, device=self._device).expand(n, width)
        logits_NTV: torch.Tensor = self.model(
            ids_NT, attention_mask=mask, position_ids=positions, past_key_values=cache
        ).logits
        return logits_NTV[torch.arange(n, device=self._device), lengths_N - 1].float()


def _weights(source: str) -> str:
    """What tells one folder of weights from another: names, sizes and times of its files."""
    folder = Path(source)
    if not folder.is_dir():
        return ""
    files = sorted(p for p in folder.iterdir() if p.is_file())
    facts = [f"{p.name} {p.stat().st_size} {p.stat().st_mtime_ns}" for p in files]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]
