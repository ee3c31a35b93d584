"""A judge wired well passes in every format and mode; planted faults: bench/judge_faults.py."""

import pytest

from pawl.config.judge import JudgeConfig
from pawl.config.options import RewardConfig
from pawl.judge.wiring import prove_wiring
from pawl.problems.load import open_problems

MIX = RewardConfig.model_validate(
    {
        "components": [
            {"name": "code", "use": "code"},
            {"name": "taste", "use": "judge", "gate": "pass", "weight": 0.05},
        ]
    }
)


WAYS = [
    ("local", "pairwise"),
    ("messages", "listwise"),
    ("chat", "pointwise"),
    ("decisions", "listwise"),
    *(
        pytest.param(api, mode, marks=pytest.mark.slow)
        for api in ("local", "messages", "chat", "responses", "decisions")
        for mode in ("listwise", "pointwise", "pairwise")
    ),
]


@pytest.mark.parametrize(("api", "mode"), WAYS)
def test_a_sound_judge_passes(api, mode):
    cfg = JudgeConfig.model_validate({"api": api, "model": "m", "mode": mode, "passes": 2})
    problem = open_problems("starter-ocaml")[0]
    rows = prove_wiring(cfg, MIX, problem, ("run", "run"))
    assert [row.name for row in rows] == [
        "judge-reads",
        "judge-verdicts-fresh",
        "judge-in-place",
        "judge-scale",
        "judge-lost-is-missing",
        "judge-costs",
        "judge-bonus",
    ]
    failed = [f"{row.name}: {row.observed}" for row in rows if not row.passed]
    assert not failed


def test_a_rubric_of_ones_own(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "mine"\nversion = "1"\n[[criteria]]\nname = "clarity"\nweight = 1.0\n'
        'question = "Clear?"\nlevels = ["No.", "Yes."]\n',
        "utf-8",
    )
    cfg = JudgeConfig.model_validate({"api": "chat", "model": "m", "rubric": str(path)})
    rows = prove_wiring(cfg, RewardConfig(use="judge"), None, ("run", "run"))
    assert all(row.passed for row in rows)
