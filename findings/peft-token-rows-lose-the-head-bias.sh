#!/bin/sh
# One would expect a fresh LoRA adapter to leave a model's output as it was, whatever it trains:
# its matrices begin as a zero update. With `trainable_token_indices` on an output head that has a
# bias (Phi's, for instance) peft's forward leaves the bias out, so every logit moves at once; with
# the adapter disabled, and after merging, the bias is there again. A run that adds tokens to such
# a model samples and trains one distribution and exports another.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet install torch==2.13.0 transformers==5.19.0 peft==0.21.2
cat > "$folder/probe.py" <<'PY'
import peft
import torch
import transformers

torch.manual_seed(0)
model = transformers.PhiForCausalLM(
    transformers.PhiConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
    )
).eval()
with torch.no_grad():
    model.lm_head.bias.fill_(2.0)
ids = torch.tensor([[1, 2, 3]])


def logits(module):
    with torch.no_grad():
        return module(ids).logits


plain = logits(model)
settings = peft.LoraConfig(
    r=2, target_modules=["q_proj"], trainable_token_indices={"lm_head": [5]}, task_type="CAUSAL_LM"
)
adapted = peft.get_peft_model(model, settings).eval()
fresh = logits(adapted) - plain
with adapted.disable_adapter():
    disabled = logits(adapted) - plain
merged = logits(adapted.merge_and_unload()) - plain
print(f"peft {peft.__version__}, transformers {transformers.__version__}, torch {torch.__version__}")
print(f"fresh adapter: logits change by {fresh.min():.3f} .. {fresh.max():.3f} (the bias is 2)")
print(f"disabled: {disabled.abs().max():.3f}; merged: {merged.abs().max():.3f}")
same = torch.allclose(fresh, torch.full_like(fresh, -2.0), atol=1e-4)
raise SystemExit(0 if same and not disabled.any() and merged.abs().max() < 1e-4 else 1)
PY
"$folder/venv/bin/python" "$folder/probe.py"
# seen: fresh adapter: logits change by -2.000 .. -2.000; disabled: 0.000; merged: 0.000
