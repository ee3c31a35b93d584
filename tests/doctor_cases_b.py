"""One sick and one healthy log or more for each of the rules D5xx to D9xx.

SICK: code -> (log, the severity that is found at the least, a cause or "" for none). HEALTHY: code
-> logs that have all that the rule needs, traps among them. Left out: the tests
(test_doctor_rules_b.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from doctor_logs_b import falling, flat, line, log, noise, rising

from pawl.logs.log import Log

PROSE = (
    "We read the list from left to right and keep the largest value that was seen so far; when a "
    "larger one comes it takes its place. At the end the value is printed, followed by its index, "
    "and an empty list gives nothing at all, since it has no largest value to speak of."
)
CODE = (
    "let rec insert x = function\n  | [] -> [x]\n  | y :: rest when x <= y -> x :: y :: rest\n"
    "  | y :: rest -> y :: insert x rest\n\nlet sort xs = List.fold_left (fun acc x -> insert x "
    'acc) [] xs\n\nlet () = List.iter (Printf.printf "%d\\n") (sort [3; 1; 2; 9; 4; 7; 5])\n'
)
LOOP = "and then we add one to it. " * 40
MIXED = "\u0442\u0435\u043a\u0441\u0442 word \u4e2d\u6587 \u0e44\u0e17\u0e22 \ud55c\uad6d " * 20
R = "reward/mean"
TINY_KL = np.abs(np.random.default_rng(6).normal(0.001, 0.0002, 200))


def two(
    a: float, b: float, at: int = 100, n: int = 200, sd: float = 0.01, seed: int = 3
) -> np.ndarray:
    """A step from a to b."""
    return np.where(np.arange(n) < at, a, b) + noise(seed, n, 0.0, sd)


def bowl(n: int = 200) -> np.ndarray:
    """Truncation that falls and returns."""
    return np.clip(np.abs(np.linspace(-1, 1, n)) * 0.6 + noise(5, n, 0.0, 0.02), 0, 1)


def texts(*parts: str, tokens: int = 0) -> list[dict[str, object]]:
    return [{"text": part, **({"n_tokens": tokens} if tokens else {})} for part in parts]


def drawn(lengths: Iterable[int]) -> list[dict[str, object]]:
    """Two samples of each of a row of problems."""
    return [
        {"prompt": "Solve it. " + "x" * int(n), "text": PROSE} for n in lengths for _ in range(2)
    ]


def capped(eval_: Iterable[float] = (), passing: tuple[str, str] = ("wrong", "pass")) -> Log:
    """Most of the first samples were cut; passing: verdicts of the cut and of the ended ones."""
    samples = [
        {"finish": finish, "score": {"total": 0.5, "status": "scored", "verdict": verdict}}
        for finish, verdict, n in (("length", passing[0], 40), ("stop", passing[1], 20))
        for _ in range(n)
    ]
    columns = {R: rising(), "length/truncated_frac": line(0.7, 0.2)}
    held = {"eval/gain_low": list(eval_)} if eval_ else {}
    return log(columns | held, every={"eval/gain_low": 50}, samples=samples)


def sorted_epochs(n: int = 25, shuffled: bool = False) -> Log:
    """Two epochs of n steps whose prompts get longer through each, or come in any order."""
    rng, lengths = np.random.default_rng(5), 40 + np.arange(n) + noise(2, n, 0.0, 3.0)
    orders = [rng.permutation(n) if shuffled else np.arange(n) for _ in range(2)]
    columns = {"epoch": np.arange(1, 2 * n + 1) / n, R: flat(n=2 * n)}
    return log(columns | {"length/prompt_mean": np.concatenate([lengths[o] for o in orders])})


def with_losses(extra: int, other: dict[str, object] | None = None) -> Log:
    """Five steps of a token-mean loss over the samples and `extra` tokens of each prompt."""
    rng = np.random.default_rng(0)
    samples: list[dict[str, object]] = []
    losses = []
    for step in range(1, 6):
        credit, tokens = rng.normal(size=16), rng.integers(5, 60, 16)
        credit -= credit.mean()
        losses.append(-float(credit @ (tokens + extra)) / float((tokens + extra).sum()))
        pairs = zip(credit, tokens, strict=True)
        samples += [{"step": step, "advantage": float(a), "n_tokens": int(n)} for a, n in pairs]
    plain = {"loss": "clip", "epochs": 1, "minibatches": 1, "kl_coef": 0, "entropy_coef": 0}
    words = {
        "correction": "none",
        "filter": "",
        "zero_variance_groups": "keep",
        "normaliser": "token",
    }
    config = {f"algo.{name}": value for name, value in (plain | words).items()}
    columns = {R: flat(n=5), "loss/total": losses, "batch_samples": np.full(5, 16)}
    return log(columns, config=config | (other or {}), samples=samples)


def waves(n: int = 300, epochs: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Epoch and a length that grows within each epoch, as of sorted problems."""
    epoch = np.arange(1, n + 1) * epochs / n
    return epoch, 100 + 80 * (epoch % 1.0) + noise(7, n, 0.0, 4.0)


def spiky(at: list[int], n: int = 200) -> np.ndarray:
    x_N = np.abs(noise(8, n, 1.0, 0.1))
    x_N[at] = 60.0
    return x_N


PREF = {"preference/accuracy": noise(1, 100, 0.5, 0.08), "loss/total": noise(2, 100, 0.69, 0.003)}
GOOD_PREF = {"preference/accuracy": np.minimum(line(0.5, 0.8, 100, 0.05, 1), 1.0)}
EVAL = {R: 10, "eval/pass_at_1": 20}
EPOCH, SORTED = waves()


def held(train: np.ndarray, probe: np.ndarray, **more: np.ndarray) -> Log:
    """Training pass rates over 200 steps and a held-out one at each tenth of it."""
    columns = {R: train, "verifier/pass_frac": train, "eval/pass_at_1": probe, **more}
    return log(columns, every={name: 20 for name in columns if name.startswith("eval/")})


def pref(**columns: np.ndarray) -> Log:
    return log({f"preference/{k}": v for k, v in columns.items()}, "preference")


# code -> (sick log, severity that is found at the least, a cause or "" for none)
SICK: dict[str, tuple[Callable[[], Log], str, str]] = {
    "D501": (
        lambda: log({R: flat(), "length/truncated_frac": noise(1, 200, 0.8, 0.05)}),
        "critical",
        "completion-cap",
    ),
    "D502": (
        lambda: log({R: 0.8 - bowl(), "length/truncated_frac": bowl()}),
        "critical",
        "regression-after-peak",
    ),
    "D503": (
        lambda: log(
            {
                R: rising(),
                "length/mean": line(100, 300, sd=10),
                "eval/pass_at_1": noise(4, 40, 0.3, 0.02),
            },
            every={"eval/pass_at_1": 5},
        ),
        "warning",
        "reward-bug",
    ),
    "D504": (
        lambda: log({R: falling(), "length/mean": line(300, 60, sd=10)}),
        "critical",
        "policy-collapsed",
    ),
    "D505": (
        lambda: log({R: flat(), "length/mean": np.maximum(two(80, 1.5, 50, sd=0.1), 1)}),
        "critical",
        "template-or-eos",
    ),
    "D506": (
        lambda: log({R: flat(), "length/eos_frac": two(0.95, 0.02)}),
        "critical",
        "template-or-eos",
    ),
    "D507": (
        lambda: log({R: flat()}, samples=texts(*[LOOP] * 12, *[PROSE] * 8)),
        "critical",
        "policy-collapsed",
    ),
    "D508": (
        lambda: log({R: flat()}, samples=texts(*[MIXED] * 8, *[PROSE] * 12)),
        "critical",
        "lr-too-high",
    ),
    "D509": (
        lambda: log(
            {R: flat(), "length/mean": noise(1, 200, 480, 20)}, config={"rollout.max_tokens": 256}
        ),
        "warning",
        "",
    ),
    "D510": (
        lambda: log(
            {R: rising(), "length/eos_frac": np.zeros(40), "length/truncated_frac": np.zeros(40)},
            config={"rollout.max_tokens": 64},
        ),
        "critical",
        "template-or-eos",
    ),
    "D511": (
        lambda: log({R: rising(), "length/prompt_eos_frac": np.ones(40)}),
        "critical",
        "template-or-eos",
    ),
    "D512": (
        lambda: capped(eval_=[0.0, -0.02, -0.03]),
        "critical",
        "completion-cap",
    ),
    "D601": (
        lambda: log(
            {R: flat(), "optim/lr": line(1e-8, 2e-6)},
            config={"optim.lr": 1e-5, "optim.warmup": 1000, "train.steps": 200},
        ),
        "critical",
        "schedule-never-warm",
    ),
    "D602": (
        lambda: log(
            {
                R: np.r_[line(0.2, 0.6, 120, 0.02), noise(3, 80, 0.6, 0.02)],
                "optim/lr": np.r_[line(1e-5, 1e-6, 120), np.full(80, 1e-8)],
            }
        ),
        "info",
        "",
    ),
    "D603": (
        lambda: log(
            {
                R: flat(),
                "optim/update_ratio": np.full(200, 3e-8),
                "reward/within_std": np.full(200, 0.2),
            },
            config={"optim.lr": 1e-9},
        ),
        "critical",
        "lr-too-low",
    ),
    "D604": (
        lambda: log(
            {R: falling(), "optim/update_ratio": noise(2, 200, 0.05, 0.005)},
            config={"optim.lr": 1e-3},
        ),
        "critical",
        "lr-too-high",
    ),
    "D605": (
        lambda: log({R: flat(), "optim/unchanged_frac": np.full(200, 0.995)}),
        "critical",
        "lr-too-low",
    ),
    "D606": (
        lambda: log({R: two(0.7, 0.2, sd=0.03), "optim/grad_norm": spiky([98, 99, 102])}),
        "critical",
        "lr-too-high",
    ),
    "D607": (
        lambda: log(
            {R: flat(), "optim/grad_norm": noise(1, 200, 5, 0.3)},
            config={"optim.max_grad_norm": 1.0},
        ),
        "info",
        "",
    ),
    "D608": (
        lambda: log({R: flat(), "optim/grad_norm": np.zeros(50)}),
        "warning",
        "optimiser-detached",
    ),
    "D609": (
        lambda: log({"loss/total": line(0.3, 1.2, 100, 0.05)}, kind=""),
        "critical",
        "lr-too-high",
    ),
    "D610": (lambda: log({R: rising(), "loss/total": noise(1, 200, 0.0, 1e-5)}), "info", ""),
    "D701": (
        lambda: log({R: flat(), "value/explained_variance": noise(1, 200, -0.4, 0.1)}),
        "critical",
        "value-useless",
    ),
    "D702": (
        lambda: log(
            {R: flat(), "reward/std": np.full(200, 0.2), "value/loss": noise(1, 200, 9, 0.3)}
        ),
        "critical",
        "value-useless",
    ),
    "D703": (
        lambda: log({R: flat(), "value/clip_frac": noise(1, 200, 0.8, 0.05)}),
        "warning",
        "value-useless",
    ),
    "D704": (
        lambda: log({R: flat(), "value/explained_variance": noise(1, 200, 0.995, 0.001)}),
        "warning",
        "leakage",
    ),
    "D705": (
        lambda: log(
            {
                R: flat(),
                "policy/ratio_mean": np.ones(100),
                "policy/kl_old": np.zeros(100),
                "policy/clip_frac": np.zeros(100),
                "optim/lr": np.full(100, 1e-5),
            },
            config={"algo.epochs": 4},
        ),
        "critical",
        "algebraic-identity",
    ),
    "D706": (
        lambda: log({R: noise(1, 100, 0.1, 0.02), "reward/kl_penalty": -noise(2, 100, 0.4, 0.02)}),
        "warning",
        "reference-mismatch",
    ),
    "D707": (
        lambda: log({R: flat(), "policy/ratio_mean": np.ones(200), "policy/kl_old": TINY_KL}),
        "critical",
        "algebraic-identity",
    ),
    "D801": (
        lambda: log(
            {"preference/accuracy": noise(1, 50, 0.5, 0.05), "loss/total": line(4, 1, 50)},
            "preference",
        ),
        "critical",
        "reference-mismatch",
    ),
    "D802": (
        lambda: log({"preference/accuracy": noise(1, 100, 0.2, 0.05)}, "reward-model"),
        "critical",
        "preference-fails",
    ),
    "D803": (
        lambda: pref(accuracy=noise(1, 50, 0.3, 0.02), margin=noise(2, 50, 0.5, 0.05)),
        "warning",
        "degenerate-pairs",
    ),
    "D804": (lambda: log(PREF, "preference"), "critical", "preference-fails"),
    "D805": (lambda: pref(accuracy=np.minimum(line(0.5, 1.2, 100), 0.99)), "info", ""),
    "D806": (
        lambda: log(
            {
                "preference/accuracy": line(0.5, 0.95, 100, 0.01),
                "eval/preference_accuracy": noise(1, 10, 0.52, 0.01),
            },
            "preference",
            every={"eval/preference_accuracy": 10},
        ),
        "critical",
        "preference-fails",
    ),
    "D807": (
        lambda: log(
            {
                "preference/accuracy": line(0.6, 0.9, 100, 0.01),
                "eval/preference_accuracy": noise(1, 10, 0.2, 0.01),
            },
            "preference",
            every={"eval/preference_accuracy": 10},
        ),
        "critical",
        "preference-fails",
    ),
    "D808": (
        lambda: pref(
            accuracy=line(0.5, 0.9, 100),
            margin=line(0, 4, 100, 0.1),
            chosen_reward=line(0, -3, 100, 0.1),
            rejected_reward=line(0, -7, 100, 0.1),
        ),
        "warning",
        "",
    ),
    "D809": (
        lambda: log({**PREF, "loss/total": noise(2, 100, 0.6931, 0.0005)}, "preference"),
        "critical",
        "lr-too-low",
    ),
    "D810": (
        lambda: pref(accuracy=line(0.5, 1, 100), margin=line(0.1, 60, 100, 0.5)),
        "warning",
        "lr-too-high",
    ),
    "D811": (
        lambda: pref(accuracy=noise(1, 50, 0.4, 0.02), tie_frac=noise(2, 50, 0.4, 0.02)),
        "critical",
        "degenerate-pairs",
    ),
    "D901": (
        lambda: held(rising(), line(0.4, 0.2, 10, 0.005)),
        "critical",
        "regression-after-peak",
    ),
    "D902": (lambda: held(rising(), line(0.4, 0.2, 10, 0.005)), "critical", "reward-bug"),
    "D903": (lambda: log({R: rising()}), "info", ""),
    "D904": (
        lambda: held(
            rising(), np.array([0.3, 0.35, 0.3, 0.35]), **{"eval/problems": np.full(4, 20)}
        ),
        "info",
        "",
    ),
    "D905": (lambda: held(line(0.3, 0.4, sd=0.02), line(0.3, 0.8, 10, 0.01)), "warning", "leakage"),
    "D906": (
        lambda: log({R: flat(n=300), "epoch": EPOCH, "length/mean": SORTED}),
        "warning",
        "data-order",
    ),
    "D907": (
        lambda: log(
            {
                R: flat(n=50),
                "epoch": line(0.02, 1, 50),
                "sampled_prompts": line(8, 400, 50),
                "prompts_seen": line(8, 200, 50),
            }
        ),
        "warning",
        "data-order",
    ),
    "D908": (
        lambda: log(
            {R: two(0.6, 0.3), "optim/grad_norm": two(1, 4), "policy/kl_ref": two(0.02, 0.3)},
            events=[(100, "resume")],
        ),
        "critical",
        "optimiser-detached",
    ),
    "D909": (
        lambda: log({R: rising(), "memory/resident_mb": line(1000, 1500, sd=5)}),
        "warning",
        "",
    ),
    "D910": (lambda: log({R: rising(), "time/step_s": line(1, 4, sd=0.1)}), "warning", ""),
    "D911": (
        lambda: log(
            {R: rising(), "time/step_s": np.full(200, 10), "time/score_wait_s": np.full(200, 7)}
        ),
        "info",
        "",
    ),
    "D913": (
        lambda: log({R: two(0.6, 0.4), "verifier/limit_frac": np.maximum(two(0, 0.2), 0)}),
        "warning",
        "judge-outage",
    ),
    "D914": (
        lambda: log({R: rising(), "eval/trained_frac": np.array([0.5])}),
        "critical",
        "leakage",
    ),
    "D915": (lambda: log({R: flat()}, samples=drawn(range(30))), "critical", "data-order"),
    "D916": (lambda: held(rising(), line(0.3, 0.34, 20, 0.005)), "info", ""),
    "D611": (lambda: with_losses(3), "critical", "loss-covers-prompt"),
}

# code -> healthy logs that have all that the rule needs, traps among them
HEALTHY: dict[str, list[Callable[[], Log]]] = {
    "D501": [lambda: log({R: flat(), "length/truncated_frac": noise(1, 200, 0.1, 0.02)})],
    "D502": [lambda: log({R: rising(), "length/truncated_frac": line(0.6, 0.1, sd=0.05)})],
    "D503": [
        lambda: log({R: rising(), "length/mean": noise(1, 200, 100, 10)}),
        lambda: log(
            {
                R: rising(),
                "length/mean": line(100, 300, sd=10),
                "eval/pass_at_1": line(0.2, 0.6, 10, 0.01),
            },
            every={"eval/pass_at_1": 20},
        ),
    ],
    "D504": [lambda: log({R: rising(), "length/mean": line(300, 200, sd=10)})],
    "D505": [
        lambda: log({R: rising(), "length/mean": line(4.2, 2.4, sd=0.3)}),  # answers of one letter
        lambda: log({R: rising()}, samples=texts(*[PROSE] * 20)),
    ],
    "D506": [lambda: log({R: flat(), "length/eos_frac": noise(1, 200, 0.9, 0.02)})],
    "D507": [lambda: log({R: flat()}, samples=texts(*[PROSE, CODE, "42", ""] * 5))],
    "D508": [
        lambda: log({R: flat()}, samples=texts(*[PROSE, CODE, "\u4e2d\u6587\u5b57 " * 60] * 5))
    ],
    "D509": [
        lambda: log(
            {R: flat(), "length/mean": noise(1, 200, 100, 5)},
            config={"rollout.max_tokens": 256},
            samples=texts(*[PROSE] * 20, tokens=100),
        )
    ],
    "D510": [
        lambda: log(
            {R: flat(), "length/eos_frac": np.ones(40), "length/truncated_frac": np.zeros(40)}
        ),
        lambda: log(  # all cut at the limit
            {R: flat(), "length/eos_frac": np.zeros(40), "length/truncated_frac": np.ones(40)}
        ),
    ],
    "D511": [lambda: log({R: flat(), "length/prompt_eos_frac": np.zeros(40)})],
    "D512": [
        lambda: capped(eval_=[0.0, -0.02, -0.03], passing=("pass", "pass")),  # the cut ones pass
    ],
    "D601": [
        lambda: log(
            {R: flat(), "optim/lr": np.r_[line(0, 1e-5, 10), line(1e-5, 0, 190)]},
            config={"optim.lr": 1e-5},
        ),
        lambda: log({R: flat(), "optim/lr": line(3.6e-6, 0)}, config={"optim.lr": 5e-6}),  # decays
        lambda: log(
            {R: flat(), "optim/lr": np.full(200, 1e-5)},
            config={"optim.warmup": 0.1, "train.steps": 200},
        ),
    ],
    "D602": [lambda: log({R: flat(), "optim/lr": np.full(200, 1e-5)})],
    "D603": [
        lambda: log({R: flat(), "optim/update_ratio": np.full(200, 1e-3)}),
        lambda: log({R: rising(), "policy/kl_ref": noise(1, 200, 5e-5, 1e-5)}),
        lambda: log({R: flat(), "policy/kl_ref": np.zeros(200)}),  # no KL term
    ],
    "D604": [
        lambda: log({R: rising(), "policy/kl_ref": line(0.0, 4, sd=0.1)}),  # a KL of 4 and learning
        lambda: log({R: flat(), "optim/update_ratio": np.full(200, 1e-3)}),
    ],
    "D605": [
        lambda: log({R: flat(), "optim/unchanged_frac": np.full(200, 1e-4)}),
        lambda: log(  # no gradient, no movement
            {R: flat(), "optim/unchanged_frac": np.ones(200), "optim/grad_norm": np.zeros(200)}
        ),
    ],
    "D606": [lambda: log({R: rising(), "optim/grad_norm": np.abs(noise(1, 200, 1, 0.1))})],
    "D607": [
        lambda: log(
            {R: flat(), "optim/grad_norm": noise(1, 200, 0.3, 0.02)},
            config={"optim.max_grad_norm": 1.0},
        )
    ],
    "D608": [lambda: log({R: flat(), "optim/grad_norm": noise(1, 200, 0.3, 0.02)})],
    "D609": [
        lambda: log({"loss/total": line(1.2, 0.3, 100, 0.05)}, kind=""),
        lambda: log({R: rising(), "loss/total": noise(1, 200, 0.1, 0.02)}),
    ],
    "D610": [lambda: log({R: rising(), "loss/total": noise(1, 200, 0.2, 0.02)})],
    "D701": [lambda: log({R: flat(), "value/explained_variance": noise(1, 200, 0.05, 0.1)})],
    "D702": [
        lambda: log(
            {R: flat(), "reward/std": np.full(200, 0.2), "value/loss": noise(1, 200, 0.03, 0.003)}
        ),
        lambda: log({R: flat(), "reward/std": np.full(200, 0.2), "value/loss": line(9, 0.05, 200)}),
    ],
    "D703": [lambda: log({R: flat(), "value/clip_frac": noise(1, 200, 0.05, 0.01)})],
    "D704": [lambda: log({R: rising(), "value/explained_variance": noise(1, 200, 0.7, 0.1)})],
    "D705": [
        lambda: log({R: flat(), "policy/kl_old": np.zeros(100), "policy/clip_frac": np.zeros(100)}),
        lambda: log(  # one update a batch, told so, a critic beside it
            {
                R: flat(),
                "policy/ratio_mean": np.ones(100),
                "policy/kl_old": np.zeros(100),
                "value/loss": line(1, 0.1, 100),
            },
            config={"algo.epochs": 1},
        ),
    ],
    "D706": [lambda: log({R: rising(), "reward/kl_penalty": -noise(2, 200, 0.02, 0.005)})],
    "D707": [
        lambda: log({R: flat(), "policy/ratio_mean": 1 + TINY_KL, "policy/kl_old": TINY_KL}),
        lambda: log({R: flat(), "policy/ratio_mean": np.ones(200), "policy/kl_old": np.zeros(200)}),
    ],
    "D801": [
        lambda: log(
            {"preference/accuracy": line(0.5, 0.8, 50), "loss/total": line(0.69, 0.3, 50)},
            "preference",
        )
    ],
    "D802": [lambda: log(GOOD_PREF, "preference")],
    "D803": [lambda: pref(accuracy=noise(1, 50, 0.7, 0.02), margin=noise(2, 50, 0.5, 0.05))],
    "D804": [
        lambda: log(GOOD_PREF, "preference"),
        lambda: log({**PREF, "optim/lr": line(0, 1e-6, 100)}, "preference"),  # still warming up
    ],
    "D805": [lambda: log(GOOD_PREF, "preference")],
    "D806": [
        lambda: log(
            {
                "preference/accuracy": line(0.5, 0.75, 100, 0.03),
                "eval/preference_accuracy": line(0.5, 0.7, 10, 0.02),
            },
            "preference",
            every={"eval/preference_accuracy": 10},
        )
    ],
    "D807": [
        lambda: log(
            {
                "preference/accuracy": line(0.6, 0.9, 100, 0.01),
                "eval/preference_accuracy": noise(1, 10, 0.7, 0.02),
            },
            "preference",
            every={"eval/preference_accuracy": 10},
        )
    ],
    "D808": [
        lambda: pref(
            accuracy=line(0.5, 0.9, 100),
            margin=line(0, 4, 100, 0.1),
            chosen_reward=line(0, 1, 100, 0.1),
            rejected_reward=line(0, -3, 100, 0.1),
        )
    ],
    "D809": [lambda: log({**GOOD_PREF, "loss/total": line(0.6931, 0.4, 100, 0.01)}, "preference")],
    "D810": [lambda: pref(accuracy=line(0.5, 0.8, 100), margin=line(0.1, 3, 100, 0.1))],
    "D811": [lambda: pref(accuracy=line(0.5, 0.8, 50), tie_frac=np.zeros(50))],
    "D901": [
        lambda: held(rising(), line(0.2, 0.6, 10, 0.01)),
        lambda: held(flat(), noise(1, 10, 0.4, 0.02)),
    ],
    "D902": [
        lambda: held(rising(), line(0.2, 0.6, 10, 0.01)),
        lambda: held(rising(), noise(1, 10, 0.4, 0.02), **{"eval/pass_at_1_se": np.full(10, 0.02)}),
    ],
    "D903": [lambda: held(rising(), line(0.2, 0.6, 10, 0.01))],
    "D904": [
        lambda: held(rising(), line(0.2, 0.6, 10, 0.01), **{"eval/problems": np.full(10, 500)})
    ],
    "D905": [lambda: held(rising(), line(0.25, 0.65, 10, 0.01))],
    "D906": [
        lambda: log({R: rising(n=300), "epoch": EPOCH, "length/mean": noise(3, 300, 100, 10)})
    ],
    "D907": [
        lambda: log(
            {
                R: flat(n=50),
                "epoch": line(0.02, 1, 50),
                "sampled_prompts": line(8, 400, 50),
                "prompts_seen": line(8, 400, 50),
            }
        )
    ],
    "D908": [
        lambda: log(
            {R: rising(), "optim/grad_norm": noise(1, 200, 1, 0.1)}, events=[(100, "resume")]
        ),
        lambda: log({R: two(0.6, 0.3)}, events=[(30, "resume")]),  # a jump elsewhere
    ],
    "D909": [
        lambda: log(
            {R: rising(), "memory/resident_mb": np.r_[line(1000, 1400, 20), noise(1, 180, 1400, 5)]}
        ),
        lambda: log(
            {
                R: rising(),
                "memory/resident_mb": line(1000, 1500, sd=5),
                "length/mean": line(50, 200),
            }
        ),
    ],
    "D910": [
        lambda: log(
            {R: rising(), "time/step_s": line(1, 4, sd=0.1), "length/mean": line(50, 250, sd=1)}
        ),
        lambda: log({R: rising(), "time/step_s": np.abs(noise(1, 200, 2, 0.2))}),
    ],
    "D911": [
        lambda: log(
            {R: rising(), "time/step_s": np.full(200, 10), "time/score_wait_s": np.full(200, 1)}
        )
    ],
    "D913": [
        lambda: log(
            {R: two(0.6, 0.4), "verifier/limit_frac": np.maximum(noise(1, 200, 0.01, 0.003), 0)}
        )
    ],
    "D914": [lambda: log({R: rising(), "eval/trained_frac": np.array([0.0])})],
    "D915": [
        lambda: log({R: flat()}, samples=drawn(np.random.default_rng(1).permutation(30))),
        lambda: sorted_epochs(shuffled=True),
    ],
    "D916": [lambda: held(rising(), line(0.3, 0.6, 20, 0.01))],
    "D611": [lambda: with_losses(0), lambda: with_losses(3, {"algo.kl_coef": 0.1})],
}
