"""How much memory a run needs, from the model's config and the run's, before anything is loaded.

Pure arithmetic in bytes, part by part, so that a person can check each formula. Weights, adapters
and optimiser are exact; what depends on lengths takes the longest prompt and completion that the
config allows; activations count the tensors that autograd keeps. Left out: the driver's context
(about 0.5 GiB on a GPU), fragmentation (take a tenth more), and what runs beside the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from pawl.config.options import RunConfig
from pawl.config.sources import ModelConfig

FAMILIES = ("qwen2", "qwen3", "llama", "mistral")
BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}
BLOCK, SUPERBLOCK = 64, 256  # NF4: weights of one constant; constants of one second-level constant
TABLES = (16 + 256 + 1) * 4  # a quantised tensor's two code tables and its offset, fp32
CHUNK = 1 << 26  # logits that `logprobs.py` holds at once, in numbers
LOGIT_BYTES = 20  # fp32 logits, their log-softmax, its exponential, product and gradient


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes by what they hold. `total` is the most that is there at one time.

    weights: the base, 4-bit constants included. adapters: trained beside it, fp32. reference: a
    frozen copy under full fine-tuning with a KL. rollout_weights: the local engine's copy.
    optimiser: two fp32 moments of what trains. gradients, activations, logits: while a micro-batch
    is trained on. kv_cache, decoding: while completions are sampled.
    """

    weights: int
    adapters: int
    reference: int
    rollout_weights: int
    optimiser: int
    gradients: int
    activations: int
    logits: int
    kv_cache: int
    decoding: int

    @property
    def total(self) -> int:
        """What is there all the time, and the larger of sampling and training."""
        kept = self.weights + self.adapters + self.reference + self.rollout_weights + self.optimiser
        training = self.gradients + self.activations + self.logits
        return kept + max(self.kv_cache + self.decoding, training)


@dataclass(frozen=True, slots=True)
class Linear:
    """One linear layer of a decoder layer: outputs, inputs, whether it has a bias."""

    name: str
    outputs: int
    inputs: int
    bias: bool

    @property
    def size(self) -> int:
        """Numbers in its weight."""
        return self.outputs * self.inputs


@dataclass(frozen=True, slots=True)
class Shape:
    """What of an architecture decides its size.

    query, key: numbers of a token's queries, of its keys, in one layer. wide: of the MLP's inner
    layer. norms: in the norms of one layer.
    """

    layers: int
    hidden: int
    query: int
    key: int
    wide: int
    vocab: int
    tied: bool
    linears: tuple[Linear, ...]
    norms: int

    @property
    def parameters(self) -> int:
        """Numbers in the whole model, tied ones once."""
        layer = sum(x.size + x.outputs * x.bias for x in self.linears) + self.norms
        tables = self.vocab * self.hidden * (1 if self.tied else 2)
        return self.layers * layer + tables + self.hidden


def shape_of(config: Mapping[str, Any]) -> Shape | None:
    """The shape of a Hugging Face config; None for a family that is not known here."""
    family = config.get("model_type")
    if family not in FAMILIES:
        return None
    hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
    dim = int(config.get("head_dim") or hidden // heads)
    query, key = heads * dim, int(config.get("num_key_value_heads") or heads) * dim
    wide = int(config["intermediate_size"])
    every = bool(config.get("attention_bias", False))
    qkv = every or family == "qwen2"
    mlp = bool(config.get("mlp_bias", False))
    linears = (
        Linear("q_proj", query, hidden, qkv),
        Linear("k_proj", key, hidden, qkv),
        Linear("v_proj", key, hidden, qkv),
        Linear("o_proj", hidden, query, every),
        Linear("gate_proj", wide, hidden, mlp),
        Linear("up_proj", wide, hidden, mlp),
        Linear("down_proj", hidden, wide, mlp),
    )
    return Shape(
        layers=int(config["num_hidden_layers"]),
        hidden=hidden,
        query=query,
        key=key,
        wide=wide,
        vocab=int(config["vocab_size"]),
        tied=bool(config.get("tie_word_embeddings", False)),
        linears=linears,
        norms=2 * hidden + (2 * dim if family == "qwen3" else 0),
    )


def estimated_memory(config: Mapping[str, Any], cfg: RunConfig) -> Memory | None:
    """Bytes that a run of `cfg` needs for a model of this Hugging Face config, by part.

    None for a family that is not known here: an unknown figure is no small one.
    """
    shape = shape_of(config)
    if shape is None:
        return None
    trained, tensors = trained_parameters(shape, cfg.model)
    lora = cfg.model.lora.r > 0
    copied = cfg.algo.kl_coef > 0 and not lora
    engine = cfg.rollout.engine  # as `select.py` chooses
    local = engine == "local" or (engine == "auto" and cfg.model.quantise == "none")
    kv_cache, decoding = sampling_bytes(shape, cfg, local)
    activations, logits = training_bytes(shape, cfg)
    return Memory(
        weights=weight_bytes(shape, cfg.model),
        adapters=4 * trained if lora else 0,
        reference=4 * shape.parameters * copied,
        rollout_weights=rollout_bytes(shape, cfg) if local else 0,
        optimiser=8 * trained + 4 * tensors,
        gradients=4 * trained,
        activations=activations,
        logits=logits,
        kv_cache=kv_cache,
        decoding=decoding,
    )


def weight_bytes(shape: Shape, model: ModelConfig) -> int:
    """The base: fp32 where it trains, model.dtype under LoRA, linear layers in NF4 if quantised.

    A quantised weight of n numbers takes n / 2 bytes, one byte for each block of 64, and an fp32
    number for each 256 blocks, beside its tables.
    """
    each = BYTES[model.dtype] if model.lora.r else 4
    if model.quantise == "none":
        return each * shape.parameters
    total = each * shape.parameters
    for size in (linear.size for linear in shape.linears):
        blocks = ceil(size / BLOCK)
        four = ceil(size / 2) + blocks + 4 * ceil(blocks / SUPERBLOCK) + TABLES
        total += shape.layers * (four - each * size)
    return total


def trained_parameters(shape: Shape, model: ModelConfig) -> tuple[int, int]:
    """(numbers, tensors) that train: all, or the adapters r * (inputs + outputs) of each layer.

    Rows of added tokens count as trained under LoRA: one in each table.
    """
    if not model.lora.r:
        each = sum(1 + x.bias for x in shape.linears) + (4 if shape.norms > 2 * shape.hidden else 2)
        return shape.parameters, shape.layers * each + (2 if shape.tied else 3)
    named = [x for x in shape.linears if "all-linear" in model.lora.targets]
    named = named or [x for x in shape.linears if x.name in model.lora.targets]
    numbers = shape.layers * sum(model.lora.r * (x.inputs + x.outputs) for x in named)
    tables = (1 if shape.tied else 2) if model.added_tokens else 0
    numbers += tables * len(model.added_tokens) * shape.hidden
    return numbers, shape.layers * 2 * len(named) + tables


def rollout_bytes(shape: Shape, cfg: RunConfig) -> int:
    """The local engine's copy: every weight in the forward's precision, the head a second time."""
    head = shape.vocab * shape.hidden if shape.tied else 0
    return BYTES[cfg.model.dtype] * (shape.parameters + head)


def sampling_bytes(shape: Shape, cfg: RunConfig, local: bool) -> tuple[int, int]:
    """(cache of keys and values, what one prefill and one choice need) of the largest batch.

    A batch is rollout.batch rows; at 0 it is a whole step, or a whole evaluation. The local engine
    keeps a prompt once for its group, hf in every row.
    """
    r, each = cfg.rollout, BYTES[cfg.model.dtype]
    group = max(r.group_size, cfg.eval.samples)
    rows = max(r.prompts * r.group_size, cfg.eval.problems * cfg.eval.samples)
    rows = min(rows, r.batch) if r.batch else rows
    prompts = ceil(rows / group) if local else rows
    longest = max(r.max_tokens, cfg.eval.sampling.max_tokens)
    tokens = prompts * cfg.prompt.max_tokens + rows * longest
    cache = 2 * shape.layers * shape.key * each * tokens
    through = 3 * shape.wide + 4 * shape.hidden  # of one layer; nothing is kept for gradients
    prefill = prompts * cfg.prompt.max_tokens * through * each
    return cache, max(prefill, rows * shape.vocab * LOGIT_BYTES)


def training_bytes(shape: Shape, cfg: RunConfig) -> tuple[int, int]:
    """(activations, logits) of one micro-batch under the forward that computes a prompt once.

    Of each token a layer keeps for autograd, in numbers: at its two norms the fp32 input, its
    normalised form and the result (4 H fp32, 2 H); queries and keys before and after rotation,
    values and the result of attention; gate, its SiLU, up and their product (4 I). With gradient
    checkpointing only a layer's input is kept, and one layer is computed again at a time.
    """
    r, each = cfg.rollout, BYTES[cfg.model.dtype]
    mini = ceil(r.prompts / cfg.algo.minibatches) * r.group_size
    rows = min(cfg.train.micro_batch or mini, mini)
    completions = rows * r.max_tokens
    tokens = ceil(rows / r.group_size) * cfg.prompt.max_tokens + completions
    numbers = 2 * shape.hidden + 3 * shape.query + 4 * shape.key + 4 * shape.wide
    norms = 4 * shape.hidden * 4
    adapters = shape.hidden if cfg.model.lora.r else 0
    layer = tokens * (each * (numbers + adapters) + norms)
    layer += 2 * shape.key * each * rows * (cfg.prompt.max_tokens + r.max_tokens)  # prompt by row
    if cfg.model.gradient_checkpointing:
        kept = layer + shape.layers * tokens * shape.hidden * each
    else:
        kept = layer * shape.layers
    if cfg.model.quantise != "none":  # one weight at a time is dequantised
        kept += each * max(x.size for x in shape.linears)
    elif not cfg.model.lora.r and each == 2:  # autocast keeps a half copy of trained weights
        kept += each * shape.parameters
    return kept, min(completions * shape.vocab, CHUNK) * LOGIT_BYTES
