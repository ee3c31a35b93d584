"""Exact gradients by enumeration: what each estimator's expected gradient is, in float64.

A policy over sequences of two tokens is a table of logits, small enough to enumerate every group of
samples with its probability. The expected gradient of the loss is compared with the gradient of
the objective J = E[r] - beta KL(pi || pi_ref), or E[max of k rewards].
"""

import itertools

import pytest
import tiny_models
import torch

from pawl.algo import advantages as adv
from pawl.algo import losses
from pawl.algo.kl import k1, k2, k3
from pawl.algo.shaping import kept
from pawl.config.options import AlgoConfig
from pawl.models.logprobs import score_logits
from pawl.train.logprob_pass import BatchLogprobs, Micro
from pawl.train.update import micro_loss

V, T, G, BETA = 3, 2, 3, 0.3
SEQS = torch.cartesian_prod(*[torch.arange(V)] * T)
N = len(SEQS)


def table(seed):
    g = torch.Generator().manual_seed(seed)
    first = torch.randn(V, generator=g, dtype=torch.float64)
    second = torch.randn(V, V, generator=g, dtype=torch.float64)
    return [first.requires_grad_(), second.requires_grad_()]


def logps(params):
    """Log-prob of each token of each sequence, (N, T)."""
    first, second = (p.log_softmax(-1) for p in params)
    return torch.stack([first[SEQS[:, 0]], second[SEQS[:, 0], SEQS[:, 1]]], 1)


POLICY, REF = table(1), [p.detach() for p in table(2)]
REWARD = torch.rand(N, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
GROUPS = torch.tensor(list(itertools.product(range(N), repeat=G)))
MASK = torch.ones(G, T, dtype=torch.bool)


def gradient(value):
    return torch.cat([g.flatten() for g in torch.autograd.grad(value, POLICY)])


def target():
    logp_N = logps(POLICY).sum(1)
    kl = (logp_N.exp() * (logp_N - logps(REF).sum(1))).sum()
    return gradient((logp_N.exp() * REWARD).sum() - BETA * kl)


def expected(loss_of_group):
    """Gradient of -loss, averaged over every group with its probability."""
    logp_NT = logps(POLICY)
    chance_M = logp_NT.sum(1).detach()[GROUPS].sum(1).exp()
    terms = [c * loss_of_group(logp_NT[m], m) for c, m in zip(chance_M, GROUPS, strict=True)]
    return -gradient(torch.stack(terms).sum())


def k1_in_reward(advantage):
    def loss(logp_GT, member_G):
        old_GT, ref_GT = logp_GT.detach(), logps(REF)[member_G]
        shaped_1G = (REWARD[member_G] - BETA * k1(old_GT, ref_GT, MASK).sum(1))[None]
        advantage_1G = advantage(shaped_1G, torch.ones_like(shaped_1G, dtype=torch.bool))
        ratio_GT = losses.log_ratio(logp_GT, old_GT, MASK)
        loss_GT, _ = losses.clipped_surrogate(ratio_GT, advantage_1G[0][:, None], MASK, 0.2, 0.2)
        return losses.reduce(loss_GT, MASK, "constant", 1) / losses.count(MASK, "constant")

    return loss


def test_rloo_with_k1_in_the_reward_is_unbiased():
    torch.testing.assert_close(expected(k1_in_reward(adv.rloo)), target(), atol=1e-10, rtol=0)


def test_group_mean_is_unbiased_up_to_its_known_factor():
    found = expected(k1_in_reward(adv.dr_grpo)) * G / (G - 1)
    torch.testing.assert_close(found, target(), atol=1e-10, rtol=0)


def test_cispo_on_policy_is_the_policy_gradient():
    def loss(logp_GT, member_G):
        old_GT, ref_GT = logp_GT.detach(), logps(REF)[member_G]
        shaped_1G = (REWARD[member_G] - BETA * k1(old_GT, ref_GT, MASK).sum(1))[None]
        a_G = adv.rloo(shaped_1G, torch.ones_like(shaped_1G, dtype=torch.bool))[0]
        ratio_GT = losses.log_ratio(logp_GT, old_GT, MASK)
        loss_GT, _ = losses.cispo(logp_GT, ratio_GT, a_G[:, None], MASK, 1.0, 4.0)
        return losses.reduce(loss_GT, MASK, "constant", 1) / G

    torch.testing.assert_close(expected(loss), target(), atol=1e-10, rtol=0)


def test_gspo_on_policy_is_the_policy_gradient_over_the_length():
    def loss(logp_GT, member_G):
        a_G = adv.rloo(REWARD[member_G][None], torch.ones(1, G, dtype=torch.bool))[0]
        ratio_GT = losses.sequence_log_ratio(logp_GT, logp_GT.detach(), MASK)
        loss_GT, _ = losses.clipped_surrogate(ratio_GT, a_G[:, None], MASK, 0.2, 0.2)
        return losses.reduce(loss_GT, MASK, "sequence", 1) / G

    logp_N = logps(POLICY).sum(1)
    want = gradient((logp_N.exp() * REWARD).sum()) / T
    torch.testing.assert_close(expected(loss), want, atol=1e-10, rtol=0)


@pytest.mark.parametrize("k", [2, 3])
def test_pass_at_k_follows_the_gradient_of_the_best_of_k(k):
    def loss(logp_GT, member_G):
        a_G = adv.pass_at_k(REWARD[member_G][None], torch.ones(1, G, dtype=torch.bool), k)[0]
        ratio_GT = losses.log_ratio(logp_GT, logp_GT.detach(), MASK)
        loss_GT, _ = losses.clipped_surrogate(ratio_GT, a_G[:, None], MASK, 0.2, 0.2)
        return losses.reduce(loss_GT, MASK, "constant", 1) / G

    logp_N = logps(POLICY).sum(1)
    subsets = torch.tensor(list(itertools.product(range(N), repeat=k)))
    best_M = REWARD[subsets].amax(1)
    want = gradient((logp_N[subsets].sum(1).exp() * best_M).sum())
    torch.testing.assert_close(expected(loss), want, atol=1e-10, rtol=0)


def filtered(rule):
    def loss(logp_GT, member_G):
        reward_1G = REWARD[member_G][None]
        known_1G = torch.ones(1, G, dtype=torch.bool)
        a_G = adv.rloo(reward_1G, known_1G)[0]
        kept_GT = kept(rule, reward_1G, known_1G)[0][:, None] & MASK
        ratio_GT = losses.log_ratio(logp_GT, logp_GT.detach(), kept_GT)
        loss_GT, _ = losses.clipped_surrogate(ratio_GT, a_G[:, None], kept_GT, 0.2, 0.2)
        count = max(1, losses.count(kept_GT, "constant"))
        return losses.reduce(loss_GT, kept_GT, "constant", 1) / count

    return loss


@pytest.mark.parametrize("rule", ["value 0.5", "share 0.5"])
def test_a_filter_is_biased_even_in_direction(rule):
    """As for the KL, docs/algorithms.md states the size."""
    want = gradient((logps(POLICY).sum(1).exp() * REWARD).sum())
    found = expected(filtered(rule))
    assert torch.nn.functional.cosine_similarity(found, want, dim=0) < 0.99
    none = expected(filtered("share 0"))
    torch.testing.assert_close(none, want, atol=1e-10, rtol=0)


def kl_in_loss(kl):
    def loss(logp_GT, member_G):
        a_G = adv.rloo(REWARD[member_G][None], torch.ones(1, G, dtype=torch.bool))[0]
        ratio_GT = losses.log_ratio(logp_GT, logp_GT.detach(), MASK)
        loss_GT, _ = losses.clipped_surrogate(ratio_GT, a_G[:, None], MASK, 0.2, 0.2)
        loss_GT = loss_GT + BETA * kl(logp_GT, logps(REF)[member_G], MASK)
        return losses.reduce(loss_GT, MASK, "constant", 1) / G

    return loss


@pytest.mark.parametrize(("kl", "at_least"), [(k1, 0.05), (k2, 0.005), (k3, 0.01)])
def test_a_kl_in_the_loss_is_biased_token_by_token(kl, at_least):
    """The size of the bias is part of the contract: docs/algorithms.md states it."""
    bias = (expected(kl_in_loss(kl)) - target()).norm() / target().norm()
    assert bias > at_least


@pytest.mark.parametrize(
    "advantage", [lambda r, k: adv.grpo(r, k, 1e-4), adv.best_of_n], ids=["grpo", "raft"]
)
def test_published_grpo_and_raft_optimise_something_else(advantage):
    found = expected(k1_in_reward(advantage))
    cosine = torch.nn.functional.cosine_similarity(found, target(), dim=0)
    assert cosine < 0.999


# Truncated sampling: the two most probable of three tokens are kept, at each of the four places.
KEEP = [tuple(sorted(p.topk(2).indices.tolist())) for p in (POLICY[0], *POLICY[1])]


def truncated_logps(kept):
    """As `logps`, each token among the `kept` of its place; -inf for what cannot be drawn."""
    first, second = POLICY
    rows = torch.cat([first.expand(N, V), second[SEQS[:, 0]]])
    sets = [kept[0]] * N + [kept[1 + a] for a in SEQS[:, 0].tolist()]
    return score_logits(rows, SEQS.T.flatten(), 1.0, kept_N=sets)[0].view(T, N).T


def truncated_gradient(kept, advantage):
    """Gradient of -loss over groups drawn from the truncated policy, scored among `kept`."""
    drawn_N = truncated_logps(KEEP).detach().sum(1).exp()
    logp_NT = truncated_logps(kept)
    terms = []
    for member_G in GROUPS:
        chance = drawn_N[member_G].prod()
        if chance == 0:
            continue
        a_G = advantage(REWARD[member_G][None], torch.ones(1, G, dtype=torch.bool))[0]
        logp_GT = logp_NT[member_G]
        ratio_GT = losses.log_ratio(logp_GT, logp_GT.detach(), MASK)
        loss_GT, _ = losses.clipped_surrogate(ratio_GT, a_G[:, None], MASK, 0.2, 0.2)
        terms.append(chance * losses.reduce(loss_GT, MASK, "constant", 1) / G)
    return -gradient(torch.stack(terms).sum())


def test_replayed_truncation_is_the_gradient_of_the_truncated_policy():
    """The kept sets do not move with the weights (almost everywhere), so freezing them is exact."""
    chance_N = truncated_logps(KEEP).sum(1).exp()
    torch.testing.assert_close(chance_N.sum().detach(), torch.tensor(1.0, dtype=torch.float64))
    want = gradient((chance_N * REWARD).sum())
    found = truncated_gradient(KEEP, adv.rloo)
    torch.testing.assert_close(found, want, atol=1e-10, rtol=0)
    whole = truncated_gradient([()] * 4, adv.rloo)  # what ignoring the truncation would give
    bias = (whole - want).norm() / want.norm()
    cosine = torch.nn.functional.cosine_similarity(whole, want, dim=0)
    print(f"scored over the whole vocabulary: bias {bias:.3f}, cosine {cosine:.3f}")
    assert bias > 0.05  # docs/algorithms.md states it


# Stale samples: older weights wrote them, the trainer's log-prob pass gives log pi_old.
OLDER = [(p + 0.4 * q).detach() for p, q in zip(POLICY, table(6), strict=True)]


def stale_gradient(logps_of, correction, cap):
    """Gradient of the trainer's own loss over groups that OLDER wrote, with rloo."""
    cfg = AlgoConfig(correction=correction, correction_cap=cap, normaliser="constant")
    logp_NT, older_NT = logps_of(POLICY), logps_of(OLDER)
    length, known_G = logp_NT.shape[1], torch.ones(G, dtype=torch.bool)
    terms = []
    for member_G in torch.tensor(list(itertools.product(range(len(logp_NT)), repeat=G))):
        chance = older_NT[member_G].sum().exp()
        logp_GT = logp_NT[member_G]
        mask_GT = torch.ones(G, length, dtype=torch.bool)
        a_G = adv.rloo(REWARD[member_G][None], known_G[None])[0]
        old_GT, zero_GT = logp_GT.detach(), torch.zeros(G, length)
        micro = Micro((), slice(0, G), mask_GT, old_GT, older_NT[member_G], None, zero_GT)
        advantage_GT = a_G[:, None].expand(G, length)
        step = tiny_models.batch_of(BatchLogprobs([]), advantage_GT, known_G, 1.0, 0.0, 1)
        total, _, _, _ = micro_loss(logp_GT, zero_GT, micro, step, cfg)
        terms.append(chance * total / G)
    return -gradient(torch.stack(terms).sum())


def one_token(params):
    return params[0].log_softmax(-1)[:, None] + 0 * params[1].sum()


def return_gradient(logps_of):
    chance_N = logps_of(POLICY).sum(1).exp()
    return gradient((chance_N * REWARD[: len(chance_N)]).sum())


def stale_bias(logps_of, *how):
    want = return_gradient(logps_of)
    return float((stale_gradient(logps_of, *how) - want).norm() / want.norm())


def test_correction_makes_samples_of_older_weights_unbiased():
    """One token: exact while no weight is cut; docs/algorithms.md states the other sizes."""
    weight_N = (one_token(POLICY) - one_token(OLDER)).exp()
    assert weight_N.min() < 1 / 1.2 and 1.2 < weight_N.max() < 2.0  # a cap of 1.2 cuts, 2 does not
    assert stale_bias(one_token, "truncate", 2.0) < 1e-10
    assert stale_bias(one_token, "drop", 2.0) < 1e-10
    found = [stale_bias(one_token, how, 1.2) for how in ("none", "truncate", "drop")]
    assert found == pytest.approx([0.300, 0.173, 1.058], abs=1e-3)


def test_correction_by_token_leaves_the_bias_of_stale_states():
    """Two tokens: a token's own weight does not correct how its prefix and its rest were drawn."""
    found = [stale_bias(logps, "none", 2.0), stale_bias(logps, "truncate", 100.0)]
    assert found == pytest.approx([0.345, 0.278], abs=1e-3)
    weight_N = losses.correction(
        (logps(POLICY) - logps(OLDER)).detach().sum(1, keepdim=True),
        torch.ones(N, 1, dtype=torch.bool),
        100.0,
        False,
    )[:, 0]  # one weight for the sequence would be exact
    found_sequence = gradient(
        (logps(OLDER).sum(1).exp() * weight_N * REWARD * logps(POLICY).sum(1)).sum()
    )
    torch.testing.assert_close(found_sequence, return_gradient(logps), atol=1e-10, rtol=0)
