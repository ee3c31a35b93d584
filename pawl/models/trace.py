"""What a forward over text uses of a model: the weights behind its logits, the layers it calls.

Both are measured by one forward over a few tokens, because families differ: a multimodal model
holds an encoder of images that no text reaches, and state-space layers hand a projection's weight
to a fused kernel, past its forward and so past an adapter on it. Names are compared without their
numbers: an expert that no token was routed to is used where its neighbours are. Left out: what a
kernel of another machine would call.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from pawl.models.memory import FAMILIES

TOKENS = 8
STOCK = ("torch.", "transformers.pytorch_utils", "bitsandbytes.")  # linear layers and no more


@dataclass(frozen=True, slots=True)
class Trace:
    """weights: names of those that the logits depend on; called: of the modules whose forward ran;
    both without numbers (see `plain`).
    """

    weights: frozenset[str]
    called: frozenset[str]

    def reaches(self, weight: str) -> bool:
        """Whether text reaches a weight. One of a 4-bit layer is not in the graph of gradients."""
        return plain(weight) in self.weights or plain(weight.rpartition(".")[0]) in self.called


def plain(name: str) -> str:
    """A module's or weight's name without the numbers of layers and experts."""
    return re.sub(r"\d+", "*", name)


def trace(model: Any) -> Trace:
    """Run a causal LM over a few tokens and note what it uses; nothing of it changes.

    A plain decoder, all of which is used, is not run.
    """
    names = {module: plain(name) for name, module in model.named_modules()}
    if model.config.model_type in FAMILIES:
        weights = frozenset(plain(name) for name, _ in model.named_parameters())
        return Trace(weights, frozenset(names.values()))
    called = set[str]()
    hooks = [m.register_forward_hook(lambda m, *_: called.add(names[m])) for m in names]
    rows = model.get_input_embeddings().weight.shape[0]
    device = next(model.parameters()).device
    ids = (torch.arange(TOKENS, device=device) % rows)[None]
    try:
        with torch.enable_grad():
            logits = model(input_ids=ids, use_cache=False).logits
    finally:
        for hook in hooks:
            hook.remove()
    met, rest, leaves = set[Any](), [logits.grad_fn], set[int]()
    while rest:
        node = rest.pop()
        if node is not None and node not in met:
            met.add(node)
            rest += [before for before, _ in node.next_functions]
            leaves.add(id(getattr(node, "variable", None)))
    behind = {plain(name) for name, p in model.named_parameters() if id(p) in leaves}
    return Trace(frozenset(behind), frozenset(called))


def freeze_unused(model: Any) -> list[str]:
    """Freeze the weights that no text reaches; a note on them, where there are any."""
    used = trace(model).weights
    idle = {n: p for n, p in model.named_parameters() if plain(n) not in used}
    for p in idle.values():
        p.requires_grad_(False)
    count = sum(p.numel() for p in idle.values())
    first = next(iter(idle), "")
    return [f"{count:,} weights that no text reaches stay frozen ({first}, ...)"] if idle else []


def unadaptable(model: Any, used: Trace) -> list[str]:
    """Names of the linear layers on which a low-rank adapter would not act as one."""
    modules, found = dict(model.named_modules()), list[str]()
    for name, module in modules.items():
        if not isinstance(module, nn.Linear) and type(module).__name__ != "Conv1D":
            continue
        mixer = modules[name.rpartition(".")[0]]
        # kernels of state-space layers read all later projections' weights, where they are there
        fused = hasattr(mixer, "A_log") and hasattr(mixer, "D") and not name.endswith(".in_proj")
        stock = type(module).__module__.startswith(STOCK)
        if plain(name) not in used.called or fused or not stock:
            found.append(name)
    return found
