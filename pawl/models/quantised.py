"""4-bit base weights under LoRA (QLoRA, arXiv 2305.14314), through bitsandbytes.

The linear layers of the base but the output head are stored in NF4 with doubly quantised
constants; embeddings, norms and head stay in the forward's precision, adapters in fp32.
bitsandbytes is an extra (4bit) and is looked for only when it is asked for. Left out:
other bit widths, models that were saved quantised.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch

from pawl.errors import PawlError, how_to_install


def require_extra() -> None:
    """Raise PawlError where the extra 4bit is not installed."""
    lost = [name for name in ("bitsandbytes", "accelerate") if find_spec(name) is None]
    if lost:
        hint = f"{how_to_install('4bit')}, or set model.quantise: none"
        raise PawlError(f"nf4 needs {' and '.join(lost)}", "model.quantise", hint)


def reading(dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    """How transformers reads a base in NF4, straight onto a device; PawlError without the extra.

    dtype: what products are taken in.
    """
    require_extra()
    from transformers import BitsAndBytesConfig

    settings = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return {"quantization_config": settings, "device_map": {"": device}}


def keep_layout(model: Any) -> None:
    """Stop bitsandbytes from repacking weights on CPUs with AVX512 once no gradient is asked for.

    The packed form cannot be differentiated, and sampling and training share these weights.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def dense(linear: Any) -> torch.Tensor:
    """A copy of a linear layer's weight, dequantised where it is quantised."""
    weight: torch.Tensor = linear.weight
    state = getattr(weight, "quant_state", None)
    if state is None:
        return weight.clone()
    from bitsandbytes.functional import dequantize_4bit

    wide: torch.Tensor = dequantize_4bit(weight.data, state)
    return wide
