"""`pawl export`: a plain Hugging Face folder from a policy, a run, checkpoints or an adapter.

Adapters are merged in fp32 and rounded once to the precision that the base was stored in; rows of
trained added tokens go into the embeddings; the tokenizer goes along. An adapter that was trained
on a 4-bit base is merged into the base in full precision, so that the result is not exactly the
model that was trained. Several checkpoints of a run become their average. Left out: sharding, hub
uploads.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pawl.errors import PawlError
from pawl.models import checkpoint, special
from pawl.models import source as reading
from pawl.models.learner import POLICY
from pawl.models.policy import Policy, load_policy
from pawl.models.tensors import own_tensors, same
from pawl.store.read import is_run, run_and_steps, saved_config


def export(source: Policy | str | Path, out: Path) -> Path:
    """Write `source` to the new folder `out` and return it.

    source: a policy, a run folder (its best checkpoint), RUN@STEP, RUN@STEP,STEP,... (the average
    of these), an adapter folder or a model folder. Raises PawlError for a folder that is in use or
    cannot be read.
    """
    out = Path(out).expanduser()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise PawlError(f"{out} exists and is not empty", "out", "name a new folder")
    if isinstance(source, Policy):
        model, tokenizer = merged(source), source.tokenizer
    else:
        model, tokenizer = _open(str(source))
    write_plain(model, tokenizer, out)
    return out


def write_plain(model: Any, tokenizer: Any, out: Path) -> None:
    """Write a causal LM and its tokenizer as its family's files, and prove that they read back.

    Raises PawlError when transformers reads other weights than were written.
    """
    model.save_pretrained(str(out), max_shard_size="1TB")
    tokenizer.save_pretrained(str(out))
    own, again = own_tensors(model), own_tensors(reading.read_model(str(out), "", model.dtype))
    lost = sorted(set(own) ^ set(again))
    lost += [n for n in own if n in again and not same(own[n], again[n].to(own[n].dtype))]
    if lost:
        what = f"{len(lost)} tensors do not come back from the files, the first is {lost[0]}"
        hint = "transformers writes or reads this family wrongly; try another version of it"
        raise PawlError(what, str(out), hint)


def merged(policy: Policy) -> Any:
    """A copy of the policy's causal LM with its adapter merged (itself, when it has none)."""
    assert not policy.quantised, "adapters are merged into the base in full precision"
    return _merge(copy.deepcopy(policy.model)) if policy.lora else policy.core


def _merge(model: Any, wide: bool = False) -> Any:
    """The plain model, merged in fp32 or wider; in its base's precision unless it stays `wide`."""
    stored: torch.dtype = model.get_base_model().get_input_embeddings().weight.dtype
    _untie(model.get_base_model())
    narrow = stored in (torch.bfloat16, torch.float16)
    plain = (model.float() if narrow else model).merge_and_unload()
    return plain if wide else plain.to(stored)


def _untie(core: Any) -> None:
    """Give a tied output head weights of its own where an adapter acts on it or the embedding."""
    embedding, head = core.get_input_embeddings(), core.get_output_embeddings()
    if head is None or not any(hasattr(layer, "lora_A") for layer in (embedding, head)):
        return
    base = getattr(head, "base_layer", head)
    base.weight = torch.nn.Parameter(base.weight.detach().clone())
    for config in (core.config, core.config.get_text_config(decoder=True)):
        config.tie_word_embeddings = False


@torch.no_grad()
def averaged(policy: Policy, folders: Sequence[Path]) -> Policy:
    """A policy with the uniform average of the weights of several checkpoints, without adapter.

    Weights along one trajectory are averaged (SWA, arXiv 1803.05407), in fp32. Under LoRA these
    are the merged weights: the update is the product B A, and the product of averaged factors is
    not the average of the products. The policy given is used up. Raises PawlError as
    `load_weights` does.
    """
    mean: dict[str, torch.Tensor] = {}
    for count, folder in enumerate(folders, 1):
        policy.load(folder)
        model = _merge(copy.deepcopy(policy.model), wide=True) if policy.lora else policy.core
        for name, value in model.state_dict().items():
            wide = value.to(torch.promote_types(value.dtype, torch.float32))
            old = mean.setdefault(name, wide.clone())
            old += (wide - old) / count  # equal checkpoints stay exactly what they are
    plain = merged(policy)
    plain.load_state_dict(mean)
    return replace(policy, model=plain, lora=False)


def _open(name: str) -> tuple[Any, Any]:
    """Merged model and tokenizer of a run, a step of a run, an adapter or a model folder."""
    policy = run_policy(name, full=True)
    if policy is not None:
        return merged(policy), policy.tokenizer
    path = Path(name).expanduser()
    if (path / "adapter_config.json").is_file():
        return _open_adapter(path)
    place = reading.resolve(name)
    config = reading.read_config(place, "")
    stored = config.dtype if isinstance(config.dtype, torch.dtype) else torch.float32
    return reading.read_model(place, "", stored), reading.read_tokenizer(place, "")


def run_policy(name: str, full: bool = False) -> Policy | None:
    """The policy of RUN (its best checkpoint, else the newest), RUN@STEP or the average of
    RUN@STEP,STEP,...; None for others.

    full: a 4-bit base is read in full precision, as an average always is. Only reads, so a live
    run may be opened. Raises PawlError for a step without a checkpoint, or one given twice.
    """
    path, steps = run_and_steps(name)
    if not path.is_dir() or not is_run(path):
        return None
    given = steps.split(",")
    if len(set(given)) < len(given):
        raise PawlError(f"a step stands twice in {steps}", str(path), "name each step once")
    folders = [_checkpoint(path, step) for step in given]
    cfg = saved_config(path)
    whole = {"quantise": "none"} if full or len(folders) > 1 else {}
    policy = load_policy(cfg.model.model_copy(update=whole), cfg.seed)
    if len(folders) > 1:
        return averaged(policy, folders)
    policy.load(folders[0])
    return policy


def _checkpoint(run: Path, step: str) -> Path:
    """The folder of one step's checkpoint; without a step the best by held-out score, or newest."""
    found = sorted((run / "checkpoints").glob("step-??????"))
    if not step and found:
        step_of_best = checkpoint.state_of(found[-1]).get("best_step")
        if not isinstance(step_of_best, int):
            raise PawlError("state.json names no best step", str(found[-1]))
        best = checkpoint.folder_name(step_of_best)
        return _policy_in(next((folder for folder in found if folder.name == best), found[-1]))
    matching = [folder for folder in found if folder.name == f"step-{step:0>6}"]
    if not matching:
        have = ", ".join(str(int(folder.name[5:])) for folder in found) or "none"
        which = f"no checkpoint of step {step}" if step else "no checkpoint"
        raise PawlError(f"{run.name} has {which}", str(run), f"steps with a checkpoint: {have}")
    return _policy_in(matching[0])


def _policy_in(folder: Path) -> Path:
    """The policy's folder in a checkpoint; PawlError for a damaged one, or of another build."""
    checkpoint.read_state(folder)
    if not (folder / POLICY).is_dir():
        raise PawlError("the checkpoint holds no policy", str(folder))
    return folder / POLICY


def _open_adapter(folder: Path) -> tuple[Any, Any]:
    """An adapter folder on the base model that it names."""
    try:
        settings = json.loads((folder / "adapter_config.json").read_text("utf-8"))
        base = reading.resolve(str(settings["base_model_name_or_path"]))
    except (OSError, ValueError, KeyError) as error:
        what = f"cannot read adapter_config.json: {error}"
        raise PawlError(what, str(folder), "name the base model in it") from error
    reading.refuse_pickled(str(folder))
    tokenizer = reading.read_tokenizer(str(folder), "")
    stored = reading.read_config(base, "").dtype
    narrow = stored if stored in (torch.bfloat16, torch.float16) else torch.float32
    model = reading.read_model(base, "", narrow)
    special.grow(model, len(tokenizer))
    from peft import PeftModel  # takes seconds, and only an adapter needs it

    try:
        adapted = PeftModel.from_pretrained(model, str(folder))
    except reading.UNREADABLE as error:
        what = f"cannot read the adapter: {str(error).splitlines()[0]}"
        raise PawlError(what, str(folder), "the folder is incomplete") from error
    return _merge(adapted), tokenizer
