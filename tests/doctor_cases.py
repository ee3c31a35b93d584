"""Sick and healthy logs of every rule: what it must find, and what it must not.

SICK: code -> (log, the severity that is found at the least, a cause or "" for none). HEALTHY: code
-> logs that have all that the rule needs, traps among them; those of D1xx to D4xx may lack it.
FIRST and FINE are the logs of D1xx to D4xx. REAL: public runs that show a finding. Left out: the
tests (test_doctor_rules.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
from doctor_logs import (
    Floats,
    drift,
    falling,
    flat,
    line,
    log,
    noise,
    ramp,
    rising,
    sample,
)
from numpy.typing import ArrayLike

from pawl.logs.log import Event, Log

Columns = Mapping[str, ArrayLike]
UP = line(100, 0.3, 0.7)
FLAT = noise(100, 0.3, 0.03, 1)


def good(n: int = 100, **other: ArrayLike) -> dict[str, ArrayLike]:
    """Columns of a run in good health; other columns go by name with `__` for the slash."""
    columns: dict[str, ArrayLike] = {
        "reward/mean": line(n, 0.3, 0.7),
        "reward/within_std": noise(n, 0.3, 0.03, 2),
        "policy/kl_ref": np.abs(np.linspace(0.0, 0.03, n) + noise(n, 0.0, 0.002, 3)),
        "policy/entropy": line(n, 0.5, 0.4, 0.02, 4),
        "optim/grad_norm": noise(n, 0.4, 0.05, 5),
        "optim/lr": np.full(n, 1e-5),
        "loss/total": noise(n, 0.0, 0.02, 6),
    }
    return columns | {name.replace("__", "/"): x for name, x in other.items()}


def bad(n: int = 100, **other: ArrayLike) -> dict[str, ArrayLike]:
    """The same without any gain of the reward."""
    return good(n, reward__mean=noise(n, 0.3, 0.03, 1), **other)


def judged(**other: ArrayLike) -> Log:
    """A good run with a good judge, which is checked every 20 steps."""
    columns: dict[str, ArrayLike] = {
        "judge/repeat_pairs": np.linspace(3, 300, 100),
        "judge/reliability": noise(100, 0.85, 0.02),
        "judge/position_slope": noise(100, 0.0, 0.01),
        "judge/position_slope_se": np.full(100, 0.01),
        "judge/level_entropy": noise(100, 0.7, 0.05),
        "judge/answer_entropy": noise(100, 0.2, 0.05, 1),
    }
    checks = {"canary": 0.1, "canary_margin": 0.6, "padding_gain": 0.0, "anchor_shift": 0.0}
    columns |= {f"judge/{name}": noise(5, level, 0.02) for name, level in checks.items()}
    columns |= {f"judge/{name}_se": np.full(5, 0.02) for name in ("padding_gain", "anchor_shift")}
    given = {name.replace("__", "/"): x for name, x in other.items()}
    every = {name: 20 for name, x in (columns | given).items() if np.size(x) == 5}
    return log(good() | columns | given, every=every)


def step(n: int, at: int, before: float, after: float, sd: float = 0.02) -> Floats:
    return np.asarray(np.where(np.arange(n) < at, before, after) + noise(n, 0.0, sd, 8))


def spike(n: int = 100, places: tuple[int, ...] = (60,), height: float = 3.0) -> Floats:
    x_N = noise(n, 0.02, 0.002, 9)
    x_N[list(places)] = height
    return x_N


CHECK = {"name": "loss-mask", "expected": "0", "observed": "12", "cause": "loss-covers-prompt"}
FEW_TOTALS = [sample(0.21)] * 40 + [sample(1.0, "pass", "pass", 3)] * 10 + [sample(0.0)] * 10
EVEN_TOTALS = [sample(v / 10) for v in range(10)] * 4
PAID = [sample(0.5, "error", "infra_error")] * 10 + [sample(0.1)] * 30
FAIR = [sample(None, "error", "infra_error")] * 10 + [sample(0.1)] * 30
LOW = [sample(0.05, "end_marker", "compile")] * 40 + [sample(1.0, "pass", "pass", 3)] * 5
OTHER = [sample(0.1, problem_id="a"), sample(0.2, problem_id="b")]
SAME = [sample(0.1, problem_id="a"), sample(0.2, problem_id="a")]
WARM = np.concatenate([np.linspace(0, 1e-5, 20), np.linspace(1e-5, 1e-7, 80)])
RESUMED = [Event(50.0, "resume")]
TINY = np.where(np.arange(100) % 2, 0.003, 0.3)
HALF = {"rollout.group_size": 8}
K3 = {"algo.kl_coef": 0.05}
EVALS = np.where(np.arange(100) % 10 == 0, 1.0, np.nan)


def evals(*values: float) -> Floats:
    x_N = np.full(100, np.nan)
    x_N[:: 100 // len(values)][: len(values)] = values
    return x_N


def rows(
    advantage: float = 1.0, other: float = 0.0, fixed: bool = False
) -> list[dict[str, object]]:
    """Two steps of six groups of six samples; every second one repeats the text before it.

    advantage: its sign; other: what a repeated answer is paid more; fixed: failures earn one
    amount.
    """
    made: list[dict[str, object]] = []
    for i in range(72):
        member = i % 6
        share = (member // 2) / 2.0
        total = 0.1 if fixed and share < 1.0 else share
        score = {
            "total": total + other * (i % 2),
            "status": "scored",
            "verdict": "pass" if share == 1.0 else "wrong",
            "components": {"tests": share + 0.1 * (i % 5)},
        }
        made.append(
            {"step": i // 36, "group": i // 6, "member": member, "problem_id": f"p{i // 6}"}
            | {"text": f"answer {i // 2}", "score": score, "advantage": advantage * (share - 0.5)}
        )
    return made


FIRST: dict[str, Log] = {
    "D101": log(good(loss__total=np.append(noise(99, 0.0, 0.02), np.inf))),
    "D102": log(bad(loss__total=np.zeros(100), policy__kl_ref=np.zeros(100))),
    "D103": log(good(policy__entropy=np.full(100, 0.31415926))),
    "D104": log(
        {"preference/chosen_logp": UP, "preference/rejected_logp": UP, "preference/accuracy": FLAT},
        kind="preference",
    ),
    "D105": log(good(), notes=["steps go back 3 times and were put in order"]),
    "D106": log({"reward/mean": noise(8)}),
    "D107": log(good(), checks=[CHECK | {"passed": False, "refuses": True, "overridden": True}]),
    "D108": log(good(policy__ratio_max_first_pass=noise(100, 5.0, 0.5)), config={}),
    "D109": log(good(policy__nll_minus_entropy_z=noise(100, -5.0, 1.0))),
    "D110": log(good(policy__sampler_diff_mean=noise(100, 0.3, 0.02))),
    "D111": log(bad(optim__grad_norm=np.zeros(100), policy__kl_ref=np.zeros(100))),
    "D112": log(bad(optim__update_ratio=np.zeros(100))),
    "D113": log(good(verifier__missing_frac=noise(100, 0.4, 0.02))),
    "D117": log(good(), samples=rows(advantage=-1.0)),
    "D118": log(good(), samples=rows(other=0.2)),
    "D119": log(good(), samples=rows(fixed=True)),
    "D201": log({"reward/mean": np.full(60, 0.0) + noise(60, 0.1, 1e-5)}),
    "D202": log(good(component__answer=np.zeros(100), component__format_tag=UP)),
    "D203": log(
        good(
            150,
            component__answer=noise(150, 0.0, 1e-3) + spike(150, (5,), 1.0),
            component__format=line(150, 0.3, 0.7),
        )
    ),
    "D204": log(
        good(
            reward__mean=step(100, 30, 0.6, 0.3),
            reward__within_std=step(100, 30, 0.5, 0.01, 0.003),
        )
    ),
    "D205": log(good(reward__mean=line(100, 0.7, 0.3))),
    "D206": log(bad(), samples=FEW_TOTALS),
    "D207": log(bad(), samples=PAID),
    "D208": log(
        good(
            component_std__format=noise(100, 1.0),
            component_std__answer=noise(100, 0.1, 0.01),
            component_std__style=noise(100, 0.1, 0.01),
        )
    ),
    "D209": log(good(component__short=line(100, 0.8, 0.2), component__answer=UP)),
    "D210": log(bad(), samples=LOW),
    "D211": log(good(reward__std=noise(100, 0.49, 0.01))),
    "D212": log({"reward/mean": line(400, 0.4, 0.46, 0.07)}),
    "D213": log(good(reward__mean=np.concatenate([line(50, 0.2, 0.5), noise(100, 0.5, 0.03)]))),
    "D214": log({"reward/mean": np.ones(60)}),
    "D215": log(good(eval__pass_at_1=evals(0.3, 0.5, 0.7, 0.5, 0.4), eval__problems=EVALS * 200)),
    "D216": log({"reward/mean": FLAT, "reward/best_of_n": FLAT + 0.3}),
    "D217": log(good(reward__mean=step(100, 50, 0.6, 0.3)), events=RESUMED),
    "D218": log(good(), events=[Event(40.0, "curriculum", "stage two")]),
    "D219": log({"reward/mean": np.concatenate([line(50, 0.2, 0.8), line(70, 0.8, 0.3)])}),
    "D220": log(good(reward__mean=line(100, 20.0, 60.0), reward__tests=UP)),
    "D231": judged(judge__canary_margin=np.linspace(0.6, -0.1, 5)),
    "D232": judged(judge__padding_gain=noise(5, 0.2, 0.02)),
    "D233": judged(judge__position_slope=np.full(100, 0.3)),
    "D234": judged(judge__anchor_shift=np.array([0.0, 0.01, 0.2, 0.2, 0.2])),
    "D235": judged(judge__reliability=np.full(100, 0.2)),
    "D236": judged(judge__level_entropy=np.full(100, 0.5), judge__answer_entropy=np.full(100, 0.5)),
    "D237": judged(judge__simulated_frac=np.ones(100)),
    "D301": log(bad(group__tied_wrong_frac=noise(100, 0.95, 0.02))),
    "D302": log(good(group__tied_right_frac=line(100, 0.2, 0.8))),
    "D303": log(bad(group__zero_std_frac=np.ones(100))),
    "D304": log(bad(reward__within_std=TINY)),
    "D305": log(bad(group__distinct_frac=line(100, 0.9, 0.1))),
    "D306": log(good(), config={"rollout.group_size": 2}),
    "D307": log(good(group__zero_std_frac=np.zeros(100)), other_config={"scale_rewards": "batch"}),
    "D308": log(bad(filter__emptied=np.ones(100))),
    "D309": log(good(), samples=OTHER),
    "D310": log(bad(group__tied_partial_frac=noise(100, 0.6, 0.05))),
    "D401": log(good(policy__kl_ref=noise(100, 0.6, 0.05))),
    "D402": log(bad(policy__kl_ref=np.linspace(0.0, 0.5, 100))),
    "D403": log(
        good(policy__kl_ref=step(100, 5, 0.1, 40.0), reward__mean=step(100, 5, 0.3, 0.0, 0.001))
    ),
    "D404": log(bad(policy__kl_ref=np.exp(np.linspace(-6, 2, 100)))),
    "D405": log(good(policy__kl_ref=spike())),
    "D406": log(good(policy__kl_ref=np.zeros(100)), config=K3),
    "D407": log(
        bad(length__mean=noise(100, 400, 20), policy__kl_ref=noise(100, 0.02, 0.002)),
        config={"algo.kl_coef": 0.1},
    ),
    "D408": log(bad(policy__entropy=line(100, 0.5, 0.03, 0.01))),
    "D409": log(good(reward__mean=line(100, 0.6, 0.2), policy__entropy=line(100, 0.4, 3.0))),
    "D410": log(good(policy__entropy=noise(100, 0.1, 0.04))),
    "D411": log(good(policy__entropy=noise(100, -105.0, 3.0))),
    "D412": log(bad(policy__kl_old=noise(100, 0.15, 0.02), optim__lr=WARM)),
    "D413": log(good(policy__clip_frac=noise(100, 0.55, 0.02))),
    "D414": log(good(policy__clip_frac=np.zeros(100))),
    "D415": log(good(policy__staleness=np.arange(100.0))),
    "D416": log(good(policy__kl_ref_sequence=noise(100, -2.3, 0.3))),
}

FINE: dict[str, Log] = {
    "D117": log(good(), samples=rows()),
    "D118": log(good(), samples=rows()),
    "D119": log(good(), samples=rows()),
    "D103": log(good(optim__grad_norm=np.full(100, 1.0))),
    "D104": log(
        {"preference/chosen_logp": UP, "preference/rejected_logp": UP - 1, "loss/total": FLAT},
        kind="preference",
    ),
    "D107": log(good(), checks=[CHECK | {"passed": False}, CHECK | {"passed": True}]),
    "D108": log(good(policy__ratio_max_first_pass=np.ones(100)), config={"model.dtype": "fp32"}),
    "D109": log(good(policy__nll_minus_entropy_z=noise(100, -0.4, 1.0))),
    "D110": log(good(policy__sampler_diff_mean=noise(100, 0.01, 0.002))),
    "D111": log(bad(optim__grad_norm=np.zeros(100), reward__within_std=np.zeros(100))),
    "D112": log(good(optim__update_ratio=noise(100, 1e-3, 1e-4))),
    "D113": log(good(verifier__missing_frac=spike(100, (50,), 0.5) * 0.5)),
    "D202": log(good(component__answer=UP, component__format_tag=UP * 0.5)),
    "D203": log(good(component__answer=UP, component__format=UP * 0.3)),
    "D206": log(good(), samples=EVEN_TOTALS),
    "D207": log(bad(), samples=FAIR),
    "D208": log(good(component_std__a=FLAT, component_std__b=FLAT, component_std__c=FLAT)),
    "D209": log(good(component__a=UP, component__b=FLAT)),
    "D210": log(good(), samples=LOW),
    "D211": log(good(reward__std=noise(100, 0.1, 0.01), reward__mean=line(100, 0.9, 0.97, 0.01))),
    "D214": log({"reward/mean": np.minimum(line(60, 0.5, 1.0), 1.0)}),
    "D215": log(good(eval__pass_at_1=evals(0.3, 0.5, 0.6, 0.58, 0.61), eval__problems=EVALS * 200)),
    "D216": log({"reward/mean": UP, "reward/best_of_n": UP + 0.2}),
    "D217": log(good(), events=RESUMED),
    "D219": log({"reward/mean": np.concatenate([line(50, 0.2, 0.8), noise(70, 0.78, 0.03)])}),
    "D220": log(good(reward__tests=UP)),
    **{f"D23{i}": judged() for i in range(1, 7)},
    "D301": log(good(group__tied_wrong_frac=noise(100, 0.3, 0.05))),
    "D302": log(good(group__tied_right_frac=line(100, 0.0, 0.3))),
    "D303": log(good(group__zero_std_frac=noise(100, 0.3, 0.05))),
    "D305": log(good(group__distinct_frac=line(100, 0.9, 0.7))),
    "D306": log(good(), config=HALF),
    "D307": log(good(group__zero_std_frac=noise(100, 0.3, 0.05))),
    "D308": log(good(filter__emptied=(np.arange(100) % 20 == 0).astype(float))),
    "D309": log(good(), samples=SAME),
    "D310": log(good(group__tied_partial_frac=noise(100, 0.1, 0.03))),
    "D401": log(good()),
    "D404": log(good(policy__kl_ref=spike(100, (98,), 30.0))),
    "D405": log(good(policy__kl_ref=np.linspace(0.0, 0.05, 100))),
    "D406": log(good(), config=K3),
    "D407": log(good(length__mean=noise(100, 400, 20)), config={"algo.kl_coef": 0.001}),
    "D408": log(good()),
    "D409": log(good(policy__entropy=line(100, 0.4, 0.6))),
    "D411": log(good()),
    "D412": log(good(policy__kl_old=np.maximum(WARM * 1e5, 1e-4) ** 2, optim__lr=WARM)),
    "D413": log(good(policy__clip_frac=noise(100, 0.1, 0.02))),
    "D414": log(good(policy__clip_frac=noise(100, 0.1, 0.02))),
    "D415": log(good(policy__staleness=(np.arange(100) % 3).astype(float))),
    "D416": log(good(policy__kl_ref_sequence=noise(100, 0.02, 0.3))),
}

# ---- D5xx to D9xx -------------------------------------------------------------------------------

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
AWAY = np.isin(np.arange(200), (90, 91)) * 0.8  # two steps in the middle
TINY_KL = np.abs(np.random.default_rng(6).normal(0.001, 0.0002, 200))


def two(
    a: float, b: float, at: int = 100, n: int = 200, sd: float = 0.01, seed: int = 3
) -> np.ndarray:
    """A step from a to b."""
    return np.where(np.arange(n) < at, a, b) + drift(seed, n, 0.0, sd)


def bowl(n: int = 200) -> np.ndarray:
    """Truncation that falls and returns."""
    return np.clip(np.abs(np.linspace(-1, 1, n)) * 0.6 + drift(5, n, 0.0, 0.02), 0, 1)


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
    columns = {R: rising(), "length/truncated_frac": ramp(0.7, 0.2)}
    held = {"eval/gain_low": list(eval_)} if eval_ else {}
    return log(columns | held, every={"eval/gain_low": 50}, samples=samples)


def sorted_epochs(n: int = 25, shuffled: bool = False) -> Log:
    """Two epochs of n steps whose prompts get longer through each, or come in any order."""
    rng, lengths = np.random.default_rng(5), 40 + np.arange(n) + drift(2, n, 0.0, 3.0)
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
    return epoch, 100 + 80 * (epoch % 1.0) + drift(7, n, 0.0, 4.0)


def spiky(at: list[int], n: int = 200) -> np.ndarray:
    x_N = np.abs(drift(8, n, 1.0, 0.1))
    x_N[at] = 60.0
    return x_N


PREF = {"preference/accuracy": drift(1, 100, 0.5, 0.08), "loss/total": drift(2, 100, 0.69, 0.003)}
GOOD_PREF = {"preference/accuracy": np.minimum(ramp(0.5, 0.8, 100, 0.05, 1), 1.0)}
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
        lambda: log({R: flat(), "length/truncated_frac": drift(1, 200, 0.8, 0.05)}),
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
                "length/mean": ramp(100, 300, sd=10),
                "eval/pass_at_1": drift(4, 40, 0.3, 0.02),
            },
            every={"eval/pass_at_1": 5},
        ),
        "warning",
        "reward-bug",
    ),
    "D504": (
        lambda: log({R: falling(), "length/mean": ramp(300, 60, sd=10)}),
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
            {R: flat(), "length/mean": drift(1, 200, 480, 20)}, config={"rollout.max_tokens": 256}
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
            {R: flat(), "optim/lr": ramp(1e-8, 2e-6)},
            config={"optim.lr": 1e-5, "optim.warmup": 1000, "train.steps": 200},
        ),
        "critical",
        "schedule-never-warm",
    ),
    "D602": (
        lambda: log(
            {
                R: np.r_[ramp(0.2, 0.6, 120, 0.02), drift(3, 80, 0.6, 0.02)],
                "optim/lr": np.r_[ramp(1e-5, 1e-6, 120), np.full(80, 1e-8)],
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
            {R: falling(), "optim/update_ratio": drift(2, 200, 0.05, 0.005)},
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
            {R: flat(), "optim/grad_norm": drift(1, 200, 5, 0.3)},
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
        lambda: log({"loss/total": ramp(0.3, 1.2, 100, 0.05)}, kind=""),
        "critical",
        "lr-too-high",
    ),
    "D610": (lambda: log({R: rising(), "loss/total": drift(1, 200, 0.0, 1e-5)}), "info", ""),
    "D701": (
        lambda: log({R: flat(), "value/explained_variance": drift(1, 200, -0.4, 0.1)}),
        "critical",
        "value-useless",
    ),
    "D702": (
        lambda: log(
            {R: flat(), "reward/std": np.full(200, 0.2), "value/loss": drift(1, 200, 9, 0.3)}
        ),
        "critical",
        "value-useless",
    ),
    "D703": (
        lambda: log({R: flat(), "value/clip_frac": drift(1, 200, 0.8, 0.05)}),
        "warning",
        "value-useless",
    ),
    "D704": (
        lambda: log({R: flat(), "value/explained_variance": drift(1, 200, 0.995, 0.001)}),
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
        lambda: log({R: drift(1, 100, 0.1, 0.02), "reward/kl_penalty": -drift(2, 100, 0.4, 0.02)}),
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
            {"preference/accuracy": drift(1, 50, 0.5, 0.05), "loss/total": ramp(4, 1, 50)},
            "preference",
        ),
        "critical",
        "reference-mismatch",
    ),
    "D802": (
        lambda: log({"preference/accuracy": drift(1, 100, 0.2, 0.05)}, "reward-model"),
        "critical",
        "preference-fails",
    ),
    "D803": (
        lambda: pref(accuracy=drift(1, 50, 0.3, 0.02), margin=drift(2, 50, 0.5, 0.05)),
        "warning",
        "degenerate-pairs",
    ),
    "D804": (lambda: log(PREF, "preference"), "critical", "preference-fails"),
    "D805": (lambda: pref(accuracy=np.minimum(ramp(0.5, 1.2, 100), 0.99)), "info", ""),
    "D806": (
        lambda: log(
            {
                "preference/accuracy": ramp(0.5, 0.95, 100, 0.01),
                "eval/preference_accuracy": drift(1, 10, 0.52, 0.01),
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
                "preference/accuracy": ramp(0.6, 0.9, 100, 0.01),
                "eval/preference_accuracy": drift(1, 10, 0.2, 0.01),
            },
            "preference",
            every={"eval/preference_accuracy": 10},
        ),
        "critical",
        "preference-fails",
    ),
    "D808": (
        lambda: pref(
            accuracy=ramp(0.5, 0.9, 100),
            margin=ramp(0, 4, 100, 0.1),
            chosen_reward=ramp(0, -3, 100, 0.1),
            rejected_reward=ramp(0, -7, 100, 0.1),
        ),
        "warning",
        "",
    ),
    "D809": (
        lambda: log({**PREF, "loss/total": drift(2, 100, 0.6931, 0.0005)}, "preference"),
        "critical",
        "lr-too-low",
    ),
    "D810": (
        lambda: pref(accuracy=ramp(0.5, 1, 100), margin=ramp(0.1, 60, 100, 0.5)),
        "warning",
        "lr-too-high",
    ),
    "D811": (
        lambda: pref(accuracy=drift(1, 50, 0.4, 0.02), tie_frac=drift(2, 50, 0.4, 0.02)),
        "critical",
        "degenerate-pairs",
    ),
    "D901": (
        lambda: held(rising(), ramp(0.4, 0.2, 10, 0.005)),
        "critical",
        "regression-after-peak",
    ),
    "D902": (lambda: held(rising(), ramp(0.4, 0.2, 10, 0.005)), "critical", "reward-bug"),
    "D903": (lambda: log({R: rising()}), "info", ""),
    "D904": (
        lambda: held(
            rising(), np.array([0.3, 0.35, 0.3, 0.35]), **{"eval/problems": np.full(4, 20)}
        ),
        "info",
        "",
    ),
    "D905": (
        lambda: held(ramp(0.3, 0.4, sd=0.02), ramp(0.3, 0.8, 10, 0.01)),
        "warning",
        "leakage",
    ),
    "D906": (
        lambda: log({R: flat(n=300), "epoch": EPOCH, "length/mean": SORTED}),
        "warning",
        "data-order",
    ),
    "D907": (
        lambda: log(
            {
                R: flat(n=50),
                "epoch": ramp(0.02, 1, 50),
                "sampled_prompts": ramp(8, 400, 50),
                "prompts_seen": ramp(8, 200, 50),
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
        lambda: log({R: rising(), "memory/resident_mb": ramp(1000, 1500, sd=5)}),
        "warning",
        "",
    ),
    "D910": (lambda: log({R: rising(), "time/step_s": ramp(1, 4, sd=0.1)}), "warning", ""),
    "D920": (
        lambda: log(
            {
                R: rising(),
                "judge/outage_s": AWAY * 9,
                "judge/unavailable_frac": AWAY * 0.1,
            }
        ),
        "warning",
        "judge-outage",
    ),
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
    "D916": (lambda: held(rising(), ramp(0.3, 0.34, 20, 0.005)), "info", ""),
    "D611": (lambda: with_losses(3), "critical", "loss-covers-prompt"),
}

# code -> healthy logs that have all that the rule needs, traps among them
HEALTHY: dict[str, list[Callable[[], Log]]] = {
    "D501": [lambda: log({R: flat(), "length/truncated_frac": drift(1, 200, 0.1, 0.02)})],
    "D502": [lambda: log({R: rising(), "length/truncated_frac": ramp(0.6, 0.1, sd=0.05)})],
    "D503": [
        lambda: log({R: rising(), "length/mean": drift(1, 200, 100, 10)}),
        lambda: log(
            {
                R: rising(),
                "length/mean": ramp(100, 300, sd=10),
                "eval/pass_at_1": ramp(0.2, 0.6, 10, 0.01),
            },
            every={"eval/pass_at_1": 20},
        ),
    ],
    "D504": [lambda: log({R: rising(), "length/mean": ramp(300, 200, sd=10)})],
    "D505": [
        lambda: log({R: rising(), "length/mean": ramp(4.2, 2.4, sd=0.3)}),  # answers of one letter
        lambda: log({R: rising()}, samples=texts(*[PROSE] * 20)),
    ],
    "D506": [lambda: log({R: flat(), "length/eos_frac": drift(1, 200, 0.9, 0.02)})],
    "D507": [lambda: log({R: flat()}, samples=texts(*[PROSE, CODE, "42", ""] * 5))],
    "D508": [
        lambda: log({R: flat()}, samples=texts(*[PROSE, CODE, "\u4e2d\u6587\u5b57 " * 60] * 5))
    ],
    "D509": [
        lambda: log(
            {R: flat(), "length/mean": drift(1, 200, 100, 5)},
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
            {R: flat(), "optim/lr": np.r_[ramp(0, 1e-5, 10), ramp(1e-5, 0, 190)]},
            config={"optim.lr": 1e-5},
        ),
        lambda: log({R: flat(), "optim/lr": ramp(3.6e-6, 0)}, config={"optim.lr": 5e-6}),  # decays
        lambda: log(
            {R: flat(), "optim/lr": np.full(200, 1e-5)},
            config={"optim.warmup": 0.1, "train.steps": 200},
        ),
    ],
    "D602": [lambda: log({R: flat(), "optim/lr": np.full(200, 1e-5)})],
    "D603": [
        lambda: log({R: flat(), "optim/update_ratio": np.full(200, 1e-3)}),
        lambda: log({R: rising(), "policy/kl_ref": drift(1, 200, 5e-5, 1e-5)}),
        lambda: log({R: flat(), "policy/kl_ref": np.zeros(200)}),  # no KL term
    ],
    "D604": [
        lambda: log({R: rising(), "policy/kl_ref": ramp(0.0, 4, sd=0.1)}),  # a KL of 4 and learning
        lambda: log({R: flat(), "optim/update_ratio": np.full(200, 1e-3)}),
    ],
    "D605": [
        lambda: log({R: flat(), "optim/unchanged_frac": np.full(200, 1e-4)}),
        lambda: log(  # no gradient, no movement
            {R: flat(), "optim/unchanged_frac": np.ones(200), "optim/grad_norm": np.zeros(200)}
        ),
    ],
    "D606": [lambda: log({R: rising(), "optim/grad_norm": np.abs(drift(1, 200, 1, 0.1))})],
    "D607": [
        lambda: log(
            {R: flat(), "optim/grad_norm": drift(1, 200, 0.3, 0.02)},
            config={"optim.max_grad_norm": 1.0},
        )
    ],
    "D608": [lambda: log({R: flat(), "optim/grad_norm": drift(1, 200, 0.3, 0.02)})],
    "D609": [
        lambda: log({"loss/total": ramp(1.2, 0.3, 100, 0.05)}, kind=""),
        lambda: log({R: rising(), "loss/total": drift(1, 200, 0.1, 0.02)}),
    ],
    "D610": [lambda: log({R: rising(), "loss/total": drift(1, 200, 0.2, 0.02)})],
    "D701": [lambda: log({R: flat(), "value/explained_variance": drift(1, 200, 0.05, 0.1)})],
    "D702": [
        lambda: log(
            {R: flat(), "reward/std": np.full(200, 0.2), "value/loss": drift(1, 200, 0.03, 0.003)}
        ),
        lambda: log({R: flat(), "reward/std": np.full(200, 0.2), "value/loss": ramp(9, 0.05, 200)}),
    ],
    "D703": [lambda: log({R: flat(), "value/clip_frac": drift(1, 200, 0.05, 0.01)})],
    "D704": [lambda: log({R: rising(), "value/explained_variance": drift(1, 200, 0.7, 0.1)})],
    "D705": [
        lambda: log({R: flat(), "policy/kl_old": np.zeros(100), "policy/clip_frac": np.zeros(100)}),
        lambda: log(  # one update a batch, told so, a critic beside it
            {
                R: flat(),
                "policy/ratio_mean": np.ones(100),
                "policy/kl_old": np.zeros(100),
                "value/loss": ramp(1, 0.1, 100),
            },
            config={"algo.epochs": 1},
        ),
    ],
    "D706": [lambda: log({R: rising(), "reward/kl_penalty": -drift(2, 200, 0.02, 0.005)})],
    "D707": [
        lambda: log({R: flat(), "policy/ratio_mean": 1 + TINY_KL, "policy/kl_old": TINY_KL}),
        lambda: log({R: flat(), "policy/ratio_mean": np.ones(200), "policy/kl_old": np.zeros(200)}),
    ],
    "D801": [
        lambda: log(
            {"preference/accuracy": ramp(0.5, 0.8, 50), "loss/total": ramp(0.69, 0.3, 50)},
            "preference",
        )
    ],
    "D802": [lambda: log(GOOD_PREF, "preference")],
    "D803": [lambda: pref(accuracy=drift(1, 50, 0.7, 0.02), margin=drift(2, 50, 0.5, 0.05))],
    "D804": [
        lambda: log(GOOD_PREF, "preference"),
        lambda: log({**PREF, "optim/lr": ramp(0, 1e-6, 100)}, "preference"),  # still warming up
    ],
    "D805": [lambda: log(GOOD_PREF, "preference")],
    "D806": [
        lambda: log(
            {
                "preference/accuracy": ramp(0.5, 0.75, 100, 0.03),
                "eval/preference_accuracy": ramp(0.5, 0.7, 10, 0.02),
            },
            "preference",
            every={"eval/preference_accuracy": 10},
        )
    ],
    "D807": [
        lambda: log(
            {
                "preference/accuracy": ramp(0.6, 0.9, 100, 0.01),
                "eval/preference_accuracy": drift(1, 10, 0.7, 0.02),
            },
            "preference",
            every={"eval/preference_accuracy": 10},
        )
    ],
    "D808": [
        lambda: pref(
            accuracy=ramp(0.5, 0.9, 100),
            margin=ramp(0, 4, 100, 0.1),
            chosen_reward=ramp(0, 1, 100, 0.1),
            rejected_reward=ramp(0, -3, 100, 0.1),
        )
    ],
    "D809": [lambda: log({**GOOD_PREF, "loss/total": ramp(0.6931, 0.4, 100, 0.01)}, "preference")],
    "D810": [lambda: pref(accuracy=ramp(0.5, 0.8, 100), margin=ramp(0.1, 3, 100, 0.1))],
    "D811": [lambda: pref(accuracy=ramp(0.5, 0.8, 50), tie_frac=np.zeros(50))],
    "D901": [
        lambda: held(rising(), ramp(0.2, 0.6, 10, 0.01)),
        lambda: held(flat(), drift(1, 10, 0.4, 0.02)),
    ],
    "D902": [
        lambda: held(rising(), ramp(0.2, 0.6, 10, 0.01)),
        lambda: held(rising(), drift(1, 10, 0.4, 0.02), **{"eval/pass_at_1_se": np.full(10, 0.02)}),
    ],
    "D903": [lambda: held(rising(), ramp(0.2, 0.6, 10, 0.01))],
    "D904": [
        lambda: held(rising(), ramp(0.2, 0.6, 10, 0.01), **{"eval/problems": np.full(10, 500)})
    ],
    "D905": [lambda: held(rising(), ramp(0.25, 0.65, 10, 0.01))],
    "D906": [
        lambda: log({R: rising(n=300), "epoch": EPOCH, "length/mean": drift(3, 300, 100, 10)})
    ],
    "D907": [
        lambda: log(
            {
                R: flat(n=50),
                "epoch": ramp(0.02, 1, 50),
                "sampled_prompts": ramp(8, 400, 50),
                "prompts_seen": ramp(8, 400, 50),
            }
        )
    ],
    "D908": [
        lambda: log(
            {R: rising(), "optim/grad_norm": drift(1, 200, 1, 0.1)}, events=[(100, "resume")]
        ),
        lambda: log({R: two(0.6, 0.3)}, events=[(30, "resume")]),  # a jump elsewhere
    ],
    "D909": [
        lambda: log(
            {
                R: rising(),
                "memory/resident_mb": np.r_[ramp(1000, 1400, 20), drift(1, 180, 1400, 5)],
            }
        ),
        lambda: log(
            {
                R: rising(),
                "memory/resident_mb": ramp(1000, 1500, sd=5),
                "length/mean": ramp(50, 200),
            }
        ),
    ],
    "D910": [
        lambda: log(
            {R: rising(), "time/step_s": ramp(1, 4, sd=0.1), "length/mean": ramp(50, 250, sd=1)}
        ),
        lambda: log({R: rising(), "time/step_s": np.abs(drift(1, 200, 2, 0.2))}),
    ],
    "D920": [
        lambda: log(
            {
                R: rising(),
                "judge/outage_s": AWAY,
                "judge/unavailable_frac": AWAY * 0,
                "judge/refusal_frac": AWAY * 0.1,
            }
        )
    ],
    "D911": [
        lambda: log(
            {R: rising(), "time/step_s": np.full(200, 10), "time/score_wait_s": np.full(200, 1)}
        )
    ],
    "D913": [
        lambda: log(
            {R: two(0.6, 0.4), "verifier/limit_frac": np.maximum(drift(1, 200, 0.01, 0.003), 0)}
        )
    ],
    "D914": [lambda: log({R: rising(), "eval/trained_frac": np.array([0.0])})],
    "D915": [
        lambda: log({R: flat()}, samples=drawn(np.random.default_rng(1).permutation(30))),
        lambda: sorted_epochs(shuffled=True),
    ],
    "D916": [lambda: held(rising(), ramp(0.3, 0.6, 20, 0.01))],
    "D611": [lambda: with_losses(0), lambda: with_losses(3, {"algo.kl_coef": 0.1})],
}

SICK |= {code: (lambda made=made: made, "info", "") for code, made in FIRST.items()}
HEALTHY |= {code: [lambda code=code: FINE.get(code, log(good()))] for code in FIRST}

# public runs that show a finding
REAL = {
    "D102": "ancestor_rlhf.json",
    "D106": "ancestor_rlaif.json",
    "D201": "arith__kartik_v1_grpo_seed2025.json",
    "D202": "unsloth__DeepSeek_R1_0528_Qwen3__8B__GRPO.json",
    "D203": "unsloth__Mistral_v0.3__7B_-GRPO.json",
    "D204": "unsloth__Gemma4__E2B__Reinforcement_Learning_Sudoku_Game.json",
    "D205": "unsloth__Gemma4__E2B__Reinforcement_Learning_Sudoku_Game.json",
    "D206": "ancestor_ocaml.json",
    "D208": "unsloth__DeepSeek_R1_0528_Qwen3__8B__GRPO.json",
    "D211": "ancestor_ocaml.json",
    "D212": "unsloth__Gemma4__E2B__Reinforcement_Learning_2048_Game.json",
    "D213": "cmexam__terrense_grpo_healthy_60pct_zero_std.json",
    "D216": "ancestor_rlaif.json",
    "D303": "unsloth__Qwen3_VL__8B_-Vision-GRPO.json",
    "D304": "unsloth__gpt-oss-_20B_-GRPO.json",
    "D307": "arith__kartik_v1_grpo_seed2025.json",
    "D401": "unsloth__Llama_FP8_GRPO_1.json",
    "D402": "unsloth__gpt_oss__20B__Reinforcement_Learning_2048_Game.json",
    "D405": "unsloth__Advanced_Llama3_1__3B__GRPO_LoRA.json",
    "D410": "ancestor_ocaml.json",
    "D412": "arith__kartik_v1_ppo_seed2025.json",
    "D414": "cmexam__terrense_grpo_healthy_60pct_zero_std.json",
    "D501": "unsloth__gpt-oss-_20B_-GRPO.json",
    "D606": "unsloth_log__johnson_short_warm.json",
    "D609": "ancestor_rlaif.json",
    "D610": "unsloth__Llama3.1__8B_-GRPO.json",
    "D702": "arith__kartik_v1_ppo_seed2025.json",
    "D706": "arith__kartik_v1_ppo_seed2025.json",
    "D801": "dpo__terrense_beta0.1_initloss_not_ln2.jsonl",
    "D802": "unsloth__Llama3__8B_-ORPO.json",
    "D803": "ancestor_rlhf.json",
    "D804": "ancestor_rlhf.json",
    "D805": "unsloth__Zephyr__7B_-DPO.json",
    "D903": "unsloth__Llama3.1__8B_-GRPO.json",
}
