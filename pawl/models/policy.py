"""The policy: a causal LM, its tokenizer, its adapter and its frozen reference in one record.

Trained weights are fp32; the forward runs in `dtype` (autocast). Under LoRA the base weights are
stored in `dtype`, only the adapter (and added tokens) train, and the reference is the same model
with the adapter disabled. Dropout is always off. Left out: optimiser.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from pawl.config.sources import ModelConfig
from pawl.errors import PawlError
from pawl.models import quantised, source, special
from pawl.models.source import bundled_path
from pawl.models.tensors import other_than, own_tensors
from pawl.models.trace import freeze_unused

__all__ = ["Policy", "bundled_path", "freeze_reference", "load_policy", "reference"]

WEIGHTS = "model.safetensors"


@dataclass
class Policy:
    """A model that is trained.

    model: HF causal LM, PEFT-wrapped when `lora`. eos_ids: every id that ends a completion.
    dtype: precision of the forward. quantised: the base is in 4 bits. notes: what was changed on
    loading, one line each. frozen: copy for the reference under full fine-tuning, None until
    `freeze_reference`. trained: names of the weights that are to train, as they stood on opening.
    """

    model: nn.Module
    tokenizer: Any
    pad_id: int
    eos_ids: tuple[int, ...]
    device: torch.device
    dtype: torch.dtype = torch.float32
    lora: bool = False
    quantised: bool = False
    notes: list[str] = field(default_factory=list)
    frozen: nn.Module | None = None
    trained: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Note what trains now: a weight that is frozen later is a fault that must show."""
        self.trained = self.trained or tuple(name for name, _ in self.trainable())

    @property
    def core(self) -> Any:
        """The Hugging Face causal LM itself (adapters stay injected in its layers)."""
        model: Any = self.model
        return model.get_base_model() if self.lora else model

    @contextmanager
    def precision(self) -> Iterator[None]:
        """Autocast to `dtype`; nothing for fp32 and float64."""
        half = self.dtype in (torch.bfloat16, torch.float16)
        with torch.autocast(self.device.type, dtype=self.dtype if half else None, enabled=half):
            yield

    @contextmanager
    def forward(self) -> Iterator[None]:
        """A forward that may be differentiated: `precision`, and checkpointing where it is on.

        Layers recompute only in training mode; dropout is 0, so the mode changes nothing else.
        """
        modes = [(module, module.training) for module in self.core.modules()]
        if torch.is_grad_enabled() and self.core.is_gradient_checkpointing:
            self.core.train()
        try:
            with self.precision():
                yield
        finally:
            for module, mode in modes:
                module.training = mode

    def trainable(self) -> list[tuple[str, nn.Parameter]]:
        """Named weights that train, fp32 (float64 in a float64 model), tied ones once."""
        return [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]

    def save(self, folder: Path) -> None:
        """Write weights and tokenizer for `load`: under LoRA the adapter and the added rows.

        Weights keep the model's own names. Those of the family's files, which a plain folder has
        (`export.py`), may differ: experts that are one tensor here are many there.
        """
        folder.mkdir(parents=True, exist_ok=True)
        model: Any = self.model
        if self.lora:
            model.save_pretrained(str(folder), save_embedding_layers=False)
        else:
            save_file(own_tensors(model), str(folder / WEIGHTS), metadata={"format": "pt"})
            model.config.save_pretrained(str(folder))
            model.generation_config.save_pretrained(str(folder))
        self.tokenizer.save_pretrained(str(folder))

    def load(self, folder: Path) -> None:
        """Put saved weights back, in place; PawlError for a foreign or half-written folder."""
        hint = "take another checkpoint, or the model and LoRA settings that it was saved with"
        try:
            if self.lora:
                from pawl.models import adapter

                lost = adapter.load(self.model, folder)
            else:
                state = load_file(str(folder / WEIGHTS))
                lost = sorted(set(state) ^ set(own_tensors(self.model)))
                if not lost:
                    self.model.load_state_dict(state, strict=False)  # tied ones stand there once
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            first = str(error).strip().splitlines()[0]
            raise PawlError(f"cannot read the weights: {first}", str(folder), hint) from error
        if lost:
            what = f"the weights do not fit the model: {len(lost)} tensors, the first is {lost[0]}"
            raise PawlError(what, str(folder), hint)

    def unlike(self, folder: Path) -> list[str]:
        """Names of the tensors that `save` wrote to `folder` and the model does not hold so."""
        if self.lora:
            from pawl.models import adapter

            own = adapter.saved_state(self.model)
            return other_than(own, folder / "adapter_model.safetensors")
        return other_than(own_tensors(self.model), folder / WEIGHTS)


def load_policy(cfg: ModelConfig, seed: int) -> Policy:
    """The policy of a config; `seed` draws the initial adapter. Raises PawlError (user input)."""
    place = source.resolve(cfg.path)
    device = source.pick_device(cfg.device)
    dtype = source.pick_dtype(cfg.dtype, device)
    lora = cfg.lora.r > 0
    four = cfg.quantise == "nf4"
    how = quantised.reading(dtype, device) if four else {}
    notes = list[str]()
    hf = source.read_model(place, cfg.revision, dtype if lora else torch.float32, notes, **how)
    tokenizer = source.read_tokenizer(place, cfg.revision)
    ends = special.eos_ids(hf, tokenizer)
    if dtype == torch.bfloat16 and source.emulates_bf16(device):
        notes.append(source.SLOW_BF16)
    if not ends:
        notes.append("no EOS token: completions end at rollout.max_tokens only")
    notes += special.ensure_pad(tokenizer, ends)
    added, more = special.add_tokens(tokenizer, cfg.added_tokens)
    notes += more + special.grow(hf, len(tokenizer))
    hf.config.pad_token_id = hf.generation_config.pad_token_id = tokenizer.pad_token_id
    no_dropout(hf)
    if cfg.gradient_checkpointing:
        hf.gradient_checkpointing_enable({"use_reentrant": False})
    if not four:  # which was read onto its device
        hf.to(device)
    model = hf
    if lora:
        from pawl.models import adapter  # peft takes seconds to import, and only LoRA needs it

        model, more = adapter.adapted(hf, cfg, added, seed)
    else:
        more = freeze_unused(hf)
    notes += more
    model.eval()
    pad = tokenizer.pad_token_id
    return Policy(model, tokenizer, pad, ends, device, dtype, lora, four, notes)


def no_dropout(model: nn.Module) -> None:
    """Set every dropout probability to 0, so that training and scoring compute the same."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name in ("attention_dropout", "attn_dropout", "resid_dropout", "dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)


def freeze_reference(policy: Policy) -> None:
    """Keep the present weights as the reference; under LoRA the base is the reference already."""
    if not policy.lora:
        policy.frozen = copy.deepcopy(policy.model).requires_grad_(False).eval()


@contextmanager
def reference(policy: Policy) -> Iterator[Policy]:
    """The reference policy, without gradients: disabled adapter, or the frozen copy."""
    with torch.no_grad():
        if policy.lora:
            model: Any = policy.model
            with model.disable_adapter():
                yield policy
        else:
            assert policy.frozen is not None, "freeze_reference(policy) was not called"
            yield replace(policy, model=policy.frozen, frozen=None)
