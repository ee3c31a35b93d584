#!/bin/sh
# One would expect peft's `target_modules="all-linear"` to choose layers that an adapter can act
# on. On Mamba it chooses `out_proj` and then refuses its own choice with a ValueError. On Jamba it
# raises nothing and also adapts `dt_proj`, whose weight the forward reads without calling the
# layer: that adapter gets no gradient at all, is saved and counted as trained, and stays zero.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet install torch==2.13.0 transformers==5.19.0 peft==0.21.2
cat > "$folder/probe.py" <<'PY'
import peft
import torch
import transformers

small = {"vocab_size": 32, "hidden_size": 16}
settings = {"r": 2, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
print(f"peft {peft.__version__}, transformers {transformers.__version__}, torch {torch.__version__}")
mamba = transformers.MambaForCausalLM(
    transformers.MambaConfig(num_hidden_layers=1, state_size=4, **small)
)
refused = ""
try:
    peft.get_peft_model(mamba, peft.LoraConfig(**settings))
except ValueError as error:
    refused = str(error)
print(f"Mamba: {refused[:110] or 'adapted'}")
jamba = transformers.JambaForCausalLM(
    transformers.JambaConfig(
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        attn_layer_period=2,
        attn_layer_offset=1,
        num_experts=2,
        num_experts_per_tok=1,
        mamba_d_state=4,
        mamba_dt_rank=4,
        **small,
    )
)
adapted = peft.get_peft_model(jamba, peft.LoraConfig(**settings))
ids = torch.tensor([[1, 2, 3, 4]])
adapted(ids, labels=ids).loss.backward()
trained = [(name, p) for name, p in adapted.named_parameters() if p.requires_grad]
idle = sorted({name.split(".lora_")[0].rsplit(".", 1)[-1] for name, p in trained if p.grad is None})
print(f"Jamba: {len(trained)} adapter matrices, those without any gradient are of {idle}")
raise SystemExit(0 if "out_proj" in refused and idle == ["dt_proj"] else 1)
PY
"$folder/venv/bin/python" "$folder/probe.py"
# seen: Mamba: [PEFT:PeftType.LORA] Module 'out_proj' is incompatible with Mamba-based models ...
#       Jamba: the matrices without any gradient are of ['dt_proj']
