"""Scores change only on purpose: data/score_digest.json holds them.

Every reward, mix and curriculum's stage that tests know, over references and probes of both starter
sets, the attack corpus, partial and odd answers. What is made up runs in the quick suite, real
programs in the slow one, some in both tiers. After a change of what is paid `python
tests/test_rewards_digest.py` writes the file anew, and bench/results/scores.md says which classes
of scores changed, and why. Left out: which completions and rewards (score_cases.py).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import score_cases as cases
from attack_runner import limits

from pawl.config.options import RewardConfig, SandboxConfig, StagesConfig
from pawl.rewards.pay import TOTAL, pay
from pawl.rewards.user import load_user_reward
from pawl.sandbox.tiers import Sandbox, unavailable
from pawl.sandbox.verdict import Verification
from pawl.sandbox.verify import measured, verify
from pawl.types import Completion, Measurement, Problem

GOLDEN = json.loads((Path(__file__).parent / "data" / "score_digest.json").read_text())
IN_BOTH = (*cases.ATTACKS, *cases.PARTIAL, cases.FAULTY_SOURCE)  # rewards know no tier
RUNS = [("bubblewrap", s) for s in cases.SOURCES if s != cases.MADE_UP]
RUNS += [("landlock", s) for s in IN_BOTH]
Found = dict[tuple[str, str, str], Measurement]


def paid(source: str, asked: Sequence[tuple[Problem, Completion]], found: Found) -> dict[str, str]:
    """Digests of a source by config, from measurements that were made once."""
    made = {}
    for name in cases.configs_of(source):
        cfg, weights = cases.CONFIGS[name]
        stage = cfg.model_copy(update={"stages": StagesConfig(**weights)}) if weights else cfg
        digest = cases.Digest()
        for problem, completion in asked:
            row = measurements(cfg, problem, completion, found)
            (score,) = pay(problem, [completion], [row], stage, name if weights else "")
            digest.add(cases.row(problem, completion, score))
        made[name] = digest.text()
    return made


def measurements(
    cfg: RewardConfig, problem: Problem, completion: Completion, found: Found
) -> dict[str, Measurement]:
    """What each component's scorer would give."""
    uses = {c.name: c.use for c in cfg.components} or {TOTAL: cfg.use}
    row = {}
    for name, use in uses.items():
        if use == "code":
            row[name] = found[key_of(problem, completion.text, cfg.end_marker)]
        else:
            (row[name],) = load(use).call(problem, [completion])
    return row


LOADED: dict[str, object] = {}


def load(use):
    if use not in LOADED:
        LOADED[use] = load_user_reward(use)
    return LOADED[use]


def key_of(problem: Problem, text: str, marker: str) -> tuple[str, str, str]:
    return problem.id, cases.sha(text), cases.effective_marker(text, marker)


def assert_equal(made: dict[str, str], golden: dict[str, str]) -> None:
    assert set(made) == set(golden)
    assert not {name: (golden[name], now) for name, now in made.items() if now != golden[name]}


def made_up() -> dict[str, str]:
    """Of endings that no real program gives alike every day."""
    asked, found = [], Found()
    for problem, completion, fields in cases.made_up():
        seen = Verification(**fields, tier="bubblewrap")
        asked.append((problem, completion))
        for cfg, _ in cases.CONFIGS.values():
            key = key_of(problem, completion.text, cfg.end_marker)
            found[key] = measured(seen, problem.task, problem.id)
    return paid(cases.MADE_UP, asked, found)


def real(source: str, tier: str) -> dict[str, str]:
    """Of programs that are run."""
    asked = list(cases.completions(source))
    markers = {cases.CONFIGS[name][0].end_marker for name in cases.configs_of(source)}
    attack, found = source in cases.ATTACKS, Found()
    given = limits(tier) if attack else SandboxConfig(tier=tier)
    with Sandbox(given, tier, warm=tier == "bubblewrap" and not attack) as sandbox:
        for problem, completion in asked:
            for marker in markers:
                key = key_of(problem, completion.text, marker)
                if key not in found:
                    seen = verify(sandbox, problem.task, completion.text, key[2], problem.id)
                    found[key] = measured(seen, problem.task, problem.id)
    return paid(source, asked, found)


def test_every_ending_is_paid_as_it_was() -> None:
    assert_equal(made_up(), GOLDEN["bubblewrap"][cases.MADE_UP])


@pytest.mark.slow
@pytest.mark.parametrize(("tier", "source"), RUNS)
def test_real_programs_are_paid_as_they_were(source: str, tier: str) -> None:
    if unavailable(tier):
        pytest.skip(unavailable(tier))
    assert_equal(real(source, tier), GOLDEN[tier][source])


if __name__ == "__main__":  # after a change of what is paid: writes the file anew
    renewed: dict[str, dict[str, dict[str, str]]] = {"bubblewrap": {cases.MADE_UP: made_up()}}
    for tier, source in RUNS:
        renewed.setdefault(tier, {})[source] = real(source, tier)
    renewed["landlock"][cases.MADE_UP] = renewed["bubblewrap"][cases.MADE_UP]
    text = json.dumps(renewed, indent=0, sort_keys=True)
    (Path(__file__).parent / "data" / "score_digest.json").write_text(text + "\n")
