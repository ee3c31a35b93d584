"""`pawl sft`: completion-only loss, packing without leaks, determinism, folders, bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from pawl.config.options import OptimConfig, SftConfig
from pawl.errors import PawlError, PawlErrors
from pawl.models import flat
from pawl.models.fresh import train_tokenizer
from pawl.models.policy import load_policy
from pawl.models.text import decode
from pawl.sft import run as sft
from pawl.sft.data import Example, pack, plan, read_lines

ARCH = {
    "model_type": "qwen2",
    "hidden_size": 32,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "tie_word_embeddings": True,
}


def data_file(folder: Path) -> Path:
    path = folder / "data.jsonl"
    rows = [
        {"prompt": f"let f{k} (x : int) : int =\n", "completion": f"  x + {k}\n"} for k in range(8)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def config(folder: Path, **changes: Any) -> SftConfig:
    arch = folder / "arch.json"
    arch.write_text(json.dumps(ARCH))
    values: dict[str, Any] = {
        "data": str(data_file(folder)),
        "out": str(folder / "out"),
        "init": str(arch),
        "vocab_size": 280,
        "batch_tokens": 128,
        "seq_len": 64,
        "optim": OptimConfig(lr=3e-3),
    }
    return SftConfig(**{**values, **changes})


def losses(lines: list[str]) -> list[float]:
    return [float(line.split("loss ")[1].split()[0]) for line in lines if "loss " in line]


def test_learns_and_writes_a_plain_folder(tmp_path: Path) -> None:
    lines: list[str] = []
    out = sft.run_sft(config(tmp_path, steps=60), lines.append)
    seen = losses(lines)
    assert seen[-1] < 0.5 * seen[0]
    model = AutoModelForCausalLM.from_pretrained(out)
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert model.config.vocab_size == len(tokenizer)
    assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id)
    assert model.config.eos_token_id == tokenizer.eos_token_id


@pytest.mark.parametrize("kind", ["qwen2", "llama"])
def test_the_saved_tokenizer_cuts_text_as_in_training(tmp_path: Path, kind: str) -> None:
    cfg = config(tmp_path, steps=1)
    Path(cfg.init).write_text(json.dumps({**ARCH, "model_type": kind}))
    out = sft.run_sft(cfg, str)
    trained = train_tokenizer([p.prompt + c for p, c in read_lines(Path(cfg.data))], 280)
    again = AutoTokenizer.from_pretrained(out)
    for text in (
        "let f (x : int) =\n  x + 12\n\n",
        "  \tdef g(x):\n    return 'a'",
        "\u00e9 \u2713",
    ):
        assert again.encode(text) == trained.encode(text)
        assert decode(again, again.encode(text)) == text


def test_same_seed_same_weights_other_seed_other_weights(tmp_path: Path) -> None:
    made = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        out = sft.run_sft(config(tmp_path, steps=3, seed=seed, out=str(tmp_path / name)), str)
        made.append((out / "model.safetensors").read_bytes())
    assert made[0] == made[1] != made[2]


def test_continue_with_lora_changes_only_the_adapter(tmp_path: Path) -> None:
    base = sft.run_sft(config(tmp_path, steps=2), str)
    model = {"path": str(base), "lora": {"r": 4, "alpha": 8.0, "dropout": 0.1}}
    cfg = config(tmp_path, init="", model=model, steps=8, out=str(tmp_path / "lora"))
    lines: list[str] = []
    out = sft.run_sft(cfg, lines.append)
    assert losses(lines)[-1] < losses(lines)[0]
    assert sorted(p.name for p in out.glob("*.safetensors")) == ["adapter_model.safetensors"]


def test_stored_dtype_of_the_architecture_file(tmp_path: Path) -> None:
    cfg = config(tmp_path, steps=1)
    Path(cfg.init).write_text(json.dumps({**ARCH, "dtype": "bfloat16"}))
    out = sft.run_sft(cfg, str)
    assert json.loads((out / "config.json").read_text())["dtype"] == "bfloat16"
    assert (out / "model.safetensors").stat().st_size < 2.2 * 40_000


EXAMPLES = [
    Example((5, 6, 7), (8, 9)),
    Example((10,), (11, 12, 13, 1)),
    Example((20, 21, 22, 23), (24,)),
    Example((1, 1), (1, 0, 1)),
]


@pytest.mark.parametrize("family", ["qwen2", "llama", "gpt_neo"])
@pytest.mark.parametrize("packing", [True, False])
def test_packed_examples_do_not_see_each_other(family: str, packing: bool) -> None:
    policy = tiny_models.policy(family, dtype=torch.float64)
    cfg = SftConfig(data="-", out="-", seq_len=16, packing=packing)
    batch = sorted(EXAMPLES, key=len)
    expected = []
    for example in batch:
        ids = torch.tensor([[*example.prompt, *example.completion]])
        logp = policy.core(input_ids=ids).logits[0].log_softmax(-1)
        first = len(example.prompt)
        expected += [logp[first + t - 1, token] for t, token in enumerate(example.completion)]
    rows = pack(batch, cfg.seq_len, packing)
    order = [example for row in rows for example in row]
    by_row = sft._row_logp(policy, batch, cfg).split([len(e.completion) for e in order])
    alone = torch.stack(expected).split([len(e.completion) for e in batch])
    wanted = dict(zip(batch, alone, strict=True))
    for example, got in zip(order, by_row, strict=True):
        torch.testing.assert_close(got, wanted[example], atol=1e-6, rtol=0)
    if flat.supports(policy):
        together = sft._flat_logp(policy, batch, cfg)
        torch.testing.assert_close(together, torch.stack(expected), atol=1e-10, rtol=0)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(9, 30))
def test_pack_keeps_every_example_and_every_width(sizes: list[int], width: int) -> None:
    examples = [Example((k,), (k,) * (size - 1)) for k, size in enumerate(sizes)]
    rows = pack(examples, width, True)
    assert all(sum(len(e) for e in row) <= width for row in rows)
    assert sorted(e.prompt for row in rows for e in row) == sorted(e.prompt for e in examples)


@given(st.integers(1, 20), st.floats(0.1, 3.0), st.integers(0, 3))
def test_plan_visits_each_example_equally_often(count: int, epochs: float, seed: int) -> None:
    examples = [Example((1,), (2, 3))] * count
    cfg = SftConfig(data="-", out="-", epochs=epochs, batch_tokens=16, seed=seed)
    visits = [index for batch in plan(examples, cfg) for index in batch]
    times = [visits.count(index) for index in range(count)]
    assert max(times) - min(times) <= 1
    assert abs(len(visits) - count * epochs) <= 1
    assert plan(examples, cfg) == plan(examples, cfg)


def test_bad_lines_are_all_named(tmp_path: Path) -> None:
    cfg = config(tmp_path)
    Path(cfg.data).write_text('{"prompt": "a"}\nnot json\n{"prompt": "a", "completion": "b"}\n[]\n')
    with pytest.raises(PawlErrors) as caught:
        sft.run_sft(cfg, str)
    places = [error.where.rsplit(":", 1)[1] for error in caught.value.errors]
    assert places == ["1", "2", "4"]


@pytest.mark.parametrize(
    ("changes", "option"),
    [
        ({"data": "absent.jsonl"}, "data"),
        ({"init": "absent.json"}, "init"),
        ({"epochs": 0.0}, "epochs"),
        ({"tokenizer": "absent"}, "tokenizer"),
        ({"seq_len": 16, "prompt": {"system": "word " * 40}}, "seq_len"),
    ],
)
def test_bad_input_names_the_option(tmp_path: Path, changes: dict[str, Any], option: str) -> None:
    with pytest.raises(PawlError) as caught:
        sft.run_sft(config(tmp_path, **changes), str)
    assert caught.value.where == option


def test_a_folder_in_use_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "kept.txt").write_text("mine")
    with pytest.raises(PawlError, match="not empty"):
        sft.run_sft(config(tmp_path), str)


def test_chat_examples_need_a_chat_template(tmp_path: Path) -> None:
    cfg = config(tmp_path)
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    Path(cfg.data).write_text(json.dumps({"messages": turns}) + "\n")
    with pytest.raises(PawlError, match="chat template"):
        sft.run_sft(cfg, str)


def test_the_result_is_a_policy_to_train_on(tmp_path: Path) -> None:
    out = sft.run_sft(config(tmp_path, steps=1), str)
    policy = load_policy(config(tmp_path, model={"path": str(out)}).model, 0)
    assert policy.notes == []
    assert policy.eos_ids == (policy.tokenizer.eos_token_id,)


def test_chat_in_any_of_its_layouts_is_read_and_lines_end_at_newlines_alone(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {
            "messages": [
                {"role": "user", "content": "a\u2028b"},
                {"role": "assistant", "content": "c"},
            ]
        },
        {
            "prompt": [{"role": "user", "content": [{"type": "text", "text": "q"}]}],
            "completion": [{"role": "assistant", "content": "\x85d\x0c"}],
        },
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "e"}]},
    ]
    path = tmp_path / "chat.jsonl"
    path.write_text("\r\n".join(json.dumps(r, ensure_ascii=False) for r in rows), encoding="utf-8")
    found = read_lines(path)
    assert [p.messages[0].content for p, _ in found] == ["a\u2028b", "q", "q"]
    assert [text for _, text in found] == ["c", "\x85d\x0c", "e"]
    path.write_text(json.dumps({"prompt": "q", "completion": "\ud800"}))
    with pytest.raises(PawlError, match="not Unicode"):
        read_lines(path)


def test_a_template_that_drops_the_system_message_is_said(tmp_path: Path) -> None:
    folder = sft.run_sft(config(tmp_path, steps=1), str)
    policy = load_policy(config(tmp_path, model={"path": str(folder)}).model, 0)
    policy.tokenizer.chat_template = "{{ messages[-1].content }}"
    policy.tokenizer.save_pretrained(folder)
    chatty = {"init": "", "model": {"path": str(folder)}, "prompt": {"system": "Be brief."}}
    cfg = config(tmp_path, steps=1, out=str(tmp_path / "more"), **chatty)
    lines: list[str] = []
    sft.run_sft(cfg, lines.append)
    assert any("lack their system message" in line for line in lines)
