"""The bundled model: small, in Hugging Face format, and it writes both languages."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from pawl.models.source import bundled_path
from starter import generate

LIMIT = 8 * 1024 * 1024  # bytes of safetensors


@pytest.fixture(scope="module")
def bundled() -> tuple[Any, Any]:
    """Model in fp32 and tokenizer."""
    model: Any = AutoModelForCausalLM.from_pretrained(bundled_path(), dtype=torch.float32)
    return model.eval(), AutoTokenizer.from_pretrained(bundled_path())


def test_size_and_files() -> None:
    weights = sum(path.stat().st_size for path in bundled_path().glob("*.safetensors"))
    assert 0 < weights <= LIMIT
    config = json.loads((bundled_path() / "config.json").read_text())
    assert config["model_type"] == "qwen2"
    assert not list(bundled_path().glob("*.bin"))


def test_pad_is_not_eos_and_text_survives(bundled: tuple[Any, Any]) -> None:
    model, tokenizer = bundled
    assert tokenizer.pad_token_id is not None
    assert tokenizer.pad_token_id != tokenizer.eos_token_id == model.config.eos_token_id
    text = "(* any text: \u00e9\n\t2 *)\nlet solve (x : int) : int =\n  x + 1\n"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_writes_both_languages(bundled: tuple[Any, Any]) -> None:
    model, tokenizer = bundled
    held_out = {
        lang: [r for r in rows_of(lang) if r["split"] == "held_out"][::30]
        for lang in generate.LANGS
    }
    rows = [row for lang in generate.LANGS for row in held_out[lang]]
    tokenizer.padding_side = "left"
    batch = tokenizer([row["prompt"] for row in rows], return_tensors="pt", padding=True)
    with torch.inference_mode():
        out = model.generate(**batch, do_sample=False, max_new_tokens=80)
    width = batch["input_ids"].shape[1]
    texts = iter(tokenizer.batch_decode(out[:, width:], skip_special_tokens=True))
    written = {lang: [next(texts) for _ in own] for lang, own in held_out.items()}
    for lang, end in (("ocaml", "(* END *)"), ("python", "# END")):
        ended = [text.endswith(end) for text in written[lang]]
        assert sum(ended) >= 0.8 * len(ended) > 0, lang
    pairs = zip(held_out["python"], written["python"], strict=True)
    good = [parses(row["head"] + "\n" + text) for row, text in pairs]
    assert sum(good) >= 0.6 * len(good)
    assert not any("return" in text or "lambda" in text for text in written["ocaml"])


def rows_of(lang: str) -> list[dict[str, Any]]:
    """The starter set as it is shipped; test_starter.py holds it against its generator."""
    path = bundled_path().parents[1] / "problems" / "sets" / f"{lang}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def parses(source: str) -> bool:
    """True for Python source without syntax errors."""
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True


@pytest.mark.parametrize("lang", generate.LANGS)
def test_prompts_and_references_are_short(bundled: tuple[Any, Any], lang: generate.Lang) -> None:
    _, tokenizer = bundled
    rows = rows_of(lang)
    prompts = tokenizer([row["prompt"] for row in rows])["input_ids"]
    bodies = tokenizer([row["solution"].split("\n", 1)[1] for row in rows])["input_ids"]
    assert max(map(len, prompts)) <= 112
    assert max(map(len, bodies)) <= 80


def test_recipe_is_in_the_repository(root: Path) -> None:
    recipe = json.loads((root / "scripts" / "base-model.json").read_text())
    shipped = json.loads((bundled_path() / "config.json").read_text())
    for key in ("model_type", "hidden_size", "num_hidden_layers", "intermediate_size"):
        assert recipe[key] == shipped[key]
