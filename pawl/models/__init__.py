"""Models: the policy and its log-probs, from prompts to tokens, plain export.

Left out: sampling (`pawl.rollout`) and optimisation (`pawl.train`).
"""
