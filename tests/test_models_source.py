"""What is read and what is refused: code and pickles of strangers, text parts of larger models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_families
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from pawl.config.sources import LoraConfig, ModelConfig
from pawl.errors import PawlError
from pawl.models import source
from pawl.models.export import export
from pawl.models.policy import load_policy

CODE = "open({!r}, 'w').write('ran')\n"


def change(file: Path, **fields: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


@pytest.mark.parametrize("part", ["config", "model"])
def test_code_of_a_folder_is_neither_run_nor_asked_about(
    tmp_path: Path, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tiny_families.folder(tmp_path / "m", "qwen2")
    ran = tmp_path / "ran"
    (path / "theirs.py").write_text(CODE.format(str(ran)))
    kind = {"config": "AutoConfig", "model": "AutoModelForCausalLM"}[part]
    change(path / "config.json", auto_map={kind: "theirs.Theirs"}, model_type="theirs")

    def asked(*_: Any) -> str:
        raise AssertionError("asked on the terminal")

    monkeypatch.setattr("builtins.input", asked)
    with pytest.raises(PawlError) as caught:
        load_policy(ModelConfig(path=str(path), device="cpu"), 0)
    assert caught.value.where == "model.path"
    assert "\n" not in caught.value.what
    assert part == "model" or "does not run" in caught.value.what, caught.value.what
    assert not ran.exists()


def test_a_known_architecture_with_code_beside_it_is_read_without_the_code(tmp_path: Path) -> None:
    path = tiny_families.folder(tmp_path / "m", "qwen2")
    (path / "theirs.py").write_text(CODE.format(str(tmp_path / "ran")))
    change(path / "config.json", auto_map={"AutoModelForCausalLM": "theirs.Theirs"})
    named = {"AutoTokenizer": [None, "theirs.Theirs"]}
    change(path / "tokenizer_config.json", auto_map=named, tokenizer_class="Theirs")
    policy = load_policy(ModelConfig(path=str(path), device="cpu"), 0)
    assert type(policy.core).__name__ == "Qwen2ForCausalLM"
    assert not (tmp_path / "ran").exists()


def test_pickled_weights_are_refused_unread(tmp_path: Path) -> None:
    path = tiny_families.folder(tmp_path / "m", "qwen2")
    state = AutoModelForCausalLM.from_pretrained(path).state_dict()
    (path / "model.safetensors").unlink()
    torch.save(state, path / "pytorch_model.bin")
    with pytest.raises(PawlError, match=r"pickled \(pytorch_model.bin\)") as caught:
        load_policy(ModelConfig(path=str(path), device="cpu"), 0)
    assert "save_pretrained" in caught.value.hint
    AutoModelForCausalLM.from_pretrained(path).save_pretrained(tmp_path / "new")  # as the hint says
    AutoTokenizer.from_pretrained(path).save_pretrained(tmp_path / "new")
    load_policy(ModelConfig(path=str(tmp_path / "new"), device="cpu"), 0)


def test_a_pickled_adapter_is_refused_unread(tmp_path: Path) -> None:
    path = tiny_families.folder(tmp_path / "m", "qwen2")
    policy = load_policy(ModelConfig(path=str(path), device="cpu", lora=LoraConfig(r=2)), 0)
    policy.save(tmp_path / "a")
    (tmp_path / "a" / "adapter_model.safetensors").unlink()
    torch.save({}, tmp_path / "a" / "adapter_model.bin")
    with pytest.raises(PawlError, match=r"pickled \(adapter_model.bin\)"):
        export(str(tmp_path / "a"), tmp_path / "out")
    with pytest.raises(PawlError, match=r"pickled \(adapter_model.bin\)"):
        policy.load(tmp_path / "a")


def test_the_text_part_of_a_model_that_sees_is_opened_and_said(tmp_path: Path) -> None:
    path = tiny_families.folder(tmp_path / "m", "qwen3_5")
    policy = load_policy(ModelConfig(path=str(path), device="cpu"), 0)
    assert type(policy.core).__name__ == "Qwen3_5ForCausalLM"
    said = "opened as Qwen3_5ForCausalLM: the text part of Qwen3_5ForConditionalGeneration"
    assert said in policy.notes


def test_bf16_without_bf16_products_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tiny_families.folder(tmp_path / "m", "qwen2")
    cfg = ModelConfig(path=str(path), device="cpu", dtype="bf16")
    for able in ({"avx2": True}, {"avx512_bf16": True}, {"architecture": "arm64", "bf16": True}):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda able=able: able)
        assert (source.SLOW_BF16 in load_policy(cfg, 0).notes) == ("avx2" in able)
    assert not source.emulates_bf16(torch.device("cuda"))


def test_a_folder_that_is_alike_hides_no_name_of_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("gpt2-sft", "Qwen/Qwen2.5-0.5B", "runs/first"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "runs/first/run.json").write_text("{}")
    for name in ("gpt2", "Qwen/Qwen2.5-1.5B"):
        assert source.resolve(name) == name
    for name, meant in (("bundeld", "bundled"), ("runs/frist", "runs/first")):
        with pytest.raises(PawlError, match="no model folder") as caught:
            source.resolve(name)
        assert meant in caught.value.hint
