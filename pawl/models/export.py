"""`pawl export`: a plain Hugging Face folder from a policy, a run, a checkpoint or an adapter.

Adapters are merged in fp32 and rounded once to the precision that the base was stored in; rows of
trained added tokens go into the embeddings; the tokenizer goes along. Left out: sharding, hub
uploads.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from pawl.errors import PawlError
from pawl.models import source as reading
from pawl.models import special
from pawl.models.policy import Policy, load_policy, load_weights
from pawl.store.read import is_run, saved_config


def export(source: Policy | str | Path, out: Path) -> Path:
    """Write `source` to the new folder `out` and return it.

    source: a policy, a run folder (its best checkpoint), RUN@STEP, an adapter folder or a model
    folder. Raises PawlError for a folder that is in use or cannot be read.
    """
    out = Path(out).expanduser()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise PawlError(f"{out} exists and is not empty", "out", "name a new folder")
    if isinstance(source, Policy):
        model, tokenizer = merged(source), source.tokenizer
    else:
        model, tokenizer = _open(str(source))
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(str(out), max_shard_size="1TB")
    tokenizer.save_pretrained(str(out))
    return out


def merged(policy: Policy) -> Any:
    """A copy of the policy's causal LM with its adapter merged (itself, when it has none)."""
    if not policy.lora:
        return policy.core
    return _merge(copy.deepcopy(policy.model))


def _merge(model: Any) -> Any:
    stored: torch.dtype = model.get_base_model().get_input_embeddings().weight.dtype
    narrow = stored in (torch.bfloat16, torch.float16)
    plain = (model.float() if narrow else model).merge_and_unload()
    return plain.to(stored) if narrow else plain


def _open(name: str) -> tuple[Any, Any]:
    """Merged model and tokenizer of a run, a step of a run, an adapter or a model folder."""
    policy = run_policy(name)
    if policy is not None:
        return merged(policy), policy.tokenizer
    path = Path(name).expanduser()
    if (path / "adapter_config.json").is_file():
        return _open_adapter(path)
    place = reading.resolve(name)
    config = reading.read_config(place, "")
    stored = config.dtype if isinstance(config.dtype, torch.dtype) else torch.float32
    return reading.read_model(place, "", stored), reading.read_tokenizer(place, "")


def run_policy(name: str) -> Policy | None:
    """The policy of RUN (its best checkpoint, else the newest) or RUN@STEP; None for others.

    Only reads, so a live run may be opened. Raises PawlError for a step without a checkpoint.
    """
    run, _, step = name.rpartition("@") if "@" in name else (name, "", "")
    path = Path(run).expanduser()
    if not path.is_dir() or not is_run(path):
        return None
    cfg = saved_config(path)
    policy = load_policy(cfg.model, cfg.seed)
    load_weights(policy, _checkpoint(path, step))
    return policy


def _checkpoint(run: Path, step: str) -> Path:
    """The folder of one step's checkpoint; without a step the best by held-out score, or newest."""
    found = sorted((run / "checkpoints").glob("step-??????"))
    if not step and found:
        try:
            state = json.loads((found[-1] / "state.json").read_text("utf-8"))["state"]
            best = f"step-{int(state['best_step']):06d}"
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise PawlError(f"state.json cannot be read: {error}", str(found[-1])) from error
        return next((folder for folder in found if folder.name == best), found[-1])
    matching = [folder for folder in found if folder.name == f"step-{step:0>6}"]
    if not matching:
        have = ", ".join(str(int(folder.name[5:])) for folder in found) or "none"
        which = f"no checkpoint of step {step}" if step else "no checkpoint"
        raise PawlError(f"{run.name} has {which}", str(run), f"steps with a checkpoint: {have}")
    return matching[0]


def _open_adapter(folder: Path) -> tuple[Any, Any]:
    """An adapter folder on the base model that it names."""
    try:
        settings = json.loads((folder / "adapter_config.json").read_text("utf-8"))
        base = reading.resolve(str(settings["base_model_name_or_path"]))
    except (OSError, ValueError, KeyError) as error:
        what = f"cannot read adapter_config.json: {error}"
        raise PawlError(what, str(folder), "name the base model in it") from error
    tokenizer = reading.read_tokenizer(str(folder), "")
    stored = reading.read_config(base, "").dtype
    narrow = stored if stored in (torch.bfloat16, torch.float16) else torch.float32
    model = reading.read_model(base, "", narrow)
    special.grow(model, len(tokenizer))
    try:
        adapted = PeftModel.from_pretrained(model, str(folder))
    except (*reading.UNREADABLE,) as error:
        what = f"cannot read the adapter: {str(error).splitlines()[0]}"
        raise PawlError(what, str(folder), "the folder is incomplete") from error
    return _merge(adapted), tokenizer
