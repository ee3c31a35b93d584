"""Faults in the wiring of a judge are refused before the first step, each with its cause."""

import pytest

from bench import judge_faults as bench
from pawl.config.load import load_run
from pawl.judge.wiring import prove_wiring
from pawl.problems.load import open_problems
from pawl.train.teacher import ledger_name

JUDGE = ["reward.use=judge", "judge.api=chat", "judge.model=m"]


def config(folder, options):
    (folder / "run.yaml").write_text("", "utf-8")
    return load_run(folder / "run.yaml", [*JUDGE, *options])[0]


class Facts:
    """A run folder's facts, kept in memory."""

    def __init__(self):
        self._facts = {}

    def facts(self):
        return dict(self._facts)

    def update(self, **facts):
        self._facts |= facts


QUICK = (
    "verdicts roll",
    "scale turned",
    "gate ignored",
    "lost pays 0.5",
    "another language",
    "task cut",
    "key without task",
    "budget is blind",
    "ledger of nobody",
)


@pytest.mark.parametrize(
    "name",
    [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in bench.FAULTS],
)
def test_a_fault_is_refused_with_its_cause(name, tmp_path):
    fault, cause, options = bench.FAULTS[name]
    cfg = config(tmp_path, options)
    problem = open_problems("starter-ocaml")[0] if cfg.reward.components else None
    with fault():
        run, naming = Facts(), bench.teacher
        names = (naming.ledger_name(run, cfg), naming.ledger_name(run, cfg))
        rows = prove_wiring(cfg.judge, cfg.reward, problem, names)
    failed = [row for row in rows if row.passed is False]
    assert failed, "it slipped through"
    assert failed[0].cause == cause, failed[0]


def test_the_name_of_a_ledger_stays(tmp_path):
    run, cfg = Facts(), config(tmp_path, [])
    assert ledger_name(run, cfg) == ledger_name(run, cfg) != ""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["no fault", "verdicts roll", "levels upside down"])
def test_a_run_is_refused(name, monkeypatch):
    monkeypatch.setattr("sys.argv", ["judge_faults", name])
    assert bench.main() == 0
