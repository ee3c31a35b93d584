"""Read a base model and its tokenizer from a folder or a hub name, or refuse with the reason.

Every failure that a user can cause ends as a `PawlError` that names the option and what to do.
transformers takes seconds to import, so the functions import it. Left out: adapters and special
tokens (`special.py`, `policy.py`).
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from pawl.config.tree import nearest
from pawl.errors import PawlError, near_file
from pawl.models.quantised import keep_layout

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SLOW_BF16 = "this processor has no bf16 products: model.dtype=fp32 is several times faster"
NO_CODE = {"trust_remote_code": False}  # unsaid, transformers asks on the terminal
UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RuntimeError,
    SafetensorError,
)


def bundled_path() -> Path:
    """Folder of the small base model that is shipped with the package."""
    return Path(__file__).parent / "bundled"


def resolve(path: str) -> str:
    """The folder or hub name that `model.path` means; a folder must exist and hold a config."""
    if path == "bundled":
        path = str(bundled_path())
    folder = Path(path).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise PawlError(
                f"{path} has no config.json, so it is not a model folder",
                "model.path",
                "give a folder written by save_pretrained or by `pawl export`",
            )
        return str(folder)
    looks_local = path.startswith((".", "/", "~")) or path.count("/") > 1
    # runs/x is no name on the hub, ORG/x may be one, whatever lies here under ORG
    beside = path.count("/") == 1 and any(folder.parent.glob("*/run.json"))
    meant = nearest(path, ["bundled"], []) if "/" not in path else ""
    if folder.exists() or looks_local or beside or meant:
        hint = f"did you mean {meant}?" if meant else near_file(folder)
        hint = hint or "check the path; it is taken relative to the current folder"
        raise PawlError(f"no model folder at {path}", "model.path", hint)
    return path


def read_config(source: str, revision: str) -> Any:
    """The Hugging Face config of a causal LM; refuses every other kind of model.

    A model of images and text is one where transformers opens its text part as a causal LM.
    """
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    try:
        config = AutoConfig.from_pretrained(source, revision=revision or None, **NO_CODE)
    except UNREADABLE as error:
        raise _unreadable("the config", source, error) from error
    architectures = list(getattr(config, "architectures", None) or [])
    causal = set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values())
    encoder = bool(getattr(config, "is_encoder_decoder", False))
    opens = config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    text_part = config.get_text_config(decoder=True) is not config
    named = not architectures or bool(causal.intersection(architectures))
    if encoder or not opens or not (named or text_part):
        kind = ", ".join(architectures) or config.model_type
        raise PawlError(
            f"{source} is not a causal language model (it is {kind})",
            "model.path",
            "take a model whose architecture ends in ForCausalLM or LMHeadModel",
        )
    return config


def read_model(
    source: str, revision: str, dtype: torch.dtype, notes: list[str] | None = None, **four_bits: Any
) -> Any:
    """The causal LM in evaluation mode with weights in `dtype`; refuses incomplete weights.

    notes: takes a line when the folder holds more than the model. four_bits: see
    `quantised.reading`.
    """
    from transformers import AutoModelForCausalLM

    architectures = read_config(source, revision).architectures
    refuse_pickled(source)
    # otherwise transformers asks a service to convert a hub model's pickles
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"
    no_bars()
    read: Any = AutoModelForCausalLM.from_pretrained
    how = {"dtype": dtype, "output_loading_info": True, "use_safetensors": True, **NO_CODE}
    try:
        model, info = read(source, revision=revision or None, **how, **four_bits)
    except UNREADABLE as error:
        raise _unreadable("the weights", source, error) from error
    absent = sorted(info["missing_keys"]) + sorted(str(key) for key in info["mismatched_keys"])
    if absent:
        raise PawlError(
            f"the weights in {source} lack {len(absent)} tensors, the first is {absent[0]}",
            "model.path",
            "the folder is incomplete or belongs to another architecture",
        )
    if notes is not None:
        name, unused = type(model).__name__, sorted(info["unexpected_keys"])
        if architectures and name not in architectures:
            notes.append(f"opened as {name}: the text part of {', '.join(architectures)}")
        if unused:
            notes.append(f"{len(unused)} tensors of the folder are not read ({unused[0]}, ...)")
    if four_bits:
        keep_layout(model)
    return model.eval()


def refuse_pickled(source: str) -> None:
    """Raises PawlError for a folder whose weights are there as a pickle alone."""
    folder = Path(source)
    files = sorted(folder.glob("*.bin")) if folder.is_dir() else []
    pickled = [f.name for f in files if f.name.startswith(("pytorch_model", "adapter_model"))]
    if pickled and not any(folder.glob("*.safetensors")):
        raise PawlError(
            f"the weights of {source} are pickled ({pickled[0]}), and reading those may run code",
            "model.path",
            "convert them where you trust the file: from_pretrained(FOLDER).save_pretrained(NEW) "
            "of AutoModelForCausalLM, or of PeftModel for an adapter; then give NEW",
        )


def read_tokenizer(source: str, revision: str, option: str = "model.path") -> Any:
    """The tokenizer that stands beside the model; `option` is named when it cannot be read."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    try:
        reader: Any = PreTrainedTokenizerFast if _says_backend(Path(source)) else AutoTokenizer
        tokenizer = reader.from_pretrained(source, revision=revision or None, **NO_CODE)
        if len(tokenizer) <= len(tokenizer.all_special_tokens):
            raise ValueError("it has no vocabulary; the tokenizer's files are missing")
        return tokenizer
    except (*UNREADABLE, ImportError) as error:
        raise _unreadable("the tokenizer", source, error, option) from error


def _says_backend(folder: Path) -> bool:
    """Whether a folder asks for its tokenizer.json as it is.

    AutoTokenizer of transformers 5 ignores this for some families (qwen2 among them) and puts
    the family's own splitting in its place, so that text is cut differently than in training.
    """
    settings = folder / "tokenizer_config.json"
    if not settings.is_file():
        return False
    named = json.loads(settings.read_text("utf-8")).get("tokenizer_class")
    return bool(named == "TokenizersBackend")


def no_bars() -> None:
    """Silence transformers' progress bars; Pawl shows its own progress."""
    from transformers.utils import logging

    logging.disable_progress_bar()


def pick_device(name: str) -> torch.device:
    """`auto` is the first GPU or the CPU; a device that is not there is refused."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        hint = "write auto, cpu, cuda or cuda:N"
        raise PawlError(f"no device is called {name}", "model.device", hint) from error
    if device.type not in ("cpu", "cuda"):
        what = f"{name} is no device that Pawl trains on"
        raise PawlError(what, "model.device", "write auto, cpu, cuda or cuda:N")
    gpus = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= gpus:
        what = f"{name} asked for, this machine has {gpus} GPUs"
        raise PawlError(what, "model.device", "auto takes a GPU where there is one, else the CPU")
    return device


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """Forward precision; refuses one that the device cannot do."""
    if name == "fp16" and device.type != "cuda":
        raise PawlError("fp16 needs a GPU", "model.dtype", "use fp32 or bf16 on CPU")
    if name == "bf16" and device.type == "cuda":
        if not torch.cuda.is_bf16_supported(including_emulation=False):
            raise PawlError("this GPU has no bf16", "model.dtype", "use fp16 or fp32")
    return DTYPES[name]


def emulates_bf16(device: torch.device) -> bool:
    """Whether a CPU has no instruction for bf16 products, so that they are put together in fp32."""
    able = torch.cpu.get_capabilities()
    has = any(able.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))  # bf16: of ARM
    return device.type == "cpu" and not has


def _unreadable(part: str, source: str, error: Exception, option: str = "model.path") -> PawlError:
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    if "custom code" in first:
        what = f"{source} comes with Python code of its own for {part}, which Pawl does not run"
        raise PawlError(what, option, "take a model whose architecture transformers holds itself")
    if "cannot be loaded with `safetensors`" in str(error):
        first = "it has no safetensors file, and reading pickled weights may run code"
    absent = "no such folder; a hub name needs a connection"
    near = near_file(Path(source), ("bundled",)).removesuffix("?")
    hint = "check the folder" if Path(source).is_dir() else absent + (f"; {near}?" if near else "")
    return PawlError(f"cannot read {part} of {source}: {first}", option, hint)
