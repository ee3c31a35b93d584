"""What an engine declares is asked; what it could not finish is kept, missing, not trained on.

Left out: that engines sample what they should (test_rollout_engines.py).
"""

from dataclasses import replace

import pytest
import tiny_runs

from pawl.config.load import load_run
from pawl.errors import Exit, PawlError
from pawl.preflight.prove import prove
from pawl.rollout.engine import Capabilities
from pawl.rollout.local import LocalEngine
from pawl.store.display import Silent
from pawl.store.read import read_samples
from pawl.store.run import RunFolder
from pawl.train import session
from pawl.train.loop import train


class Lossy(LocalEngine):
    """Cannot finish member 1 of group 0 from `since` on; half of it is there in odd steps."""

    since = 1
    able = Capabilities(True, True, "sample", True, "tensors")

    @property
    def capabilities(self):
        return self.able

    def generate(self, prompts, group_size, params, seed, step):
        for sample in super().generate(prompts, group_size, params, seed, step):
            if (sample.group, sample.member) == (0, 1) and step >= self.since:
                n = len(sample.tokens) // 2 if step % 2 else 0
                part = {"tokens": sample.tokens[:n], "logps": sample.logps[:n], "text": ""}
                sample = replace(sample, **part, finish="error", error="a worker is gone")
            yield sample


@pytest.fixture
def run_of(model, tmp_path, monkeypatch):
    def go(name, engine, overrides=()):
        make = lambda policy, *_: (engine(policy), "")  # noqa: E731 - as make_engine
        monkeypatch.setattr(session, "make_engine", make)
        path = tmp_path / f"{name}.yaml"
        path.write_text(tiny_runs.config(model))
        cfg, places = load_run(path, [f"runs_dir={tmp_path}", f"name={name}", *overrides], {})
        with RunFolder.create(cfg, places) as run:
            return train(cfg, run, Silent(), False, prove)

    return go


def test_a_lost_sample_is_kept_and_masked(run_of):
    result = run_of("lossy", Lossy, ["train.steps=2", "reward.max_missing_frac=0.5"])
    assert result.exit_code == Exit.OK
    for record in result.records[1:]:
        rows = list(read_samples(result.path, record["step"]))
        lost = [r for r in rows if r["finish"] == "error"]
        assert [(r["group"], r["member"]) for r in lost] == [(0, 1)]
        score = lost[0]["score"]
        assert (score["status"], score["total"]) == ("missing", None)
        assert score["reason"] == "the engine failed: a worker is gone"
        assert lost[0]["advantage"] == 0.0 and lost[0]["reward"] is None
        assert record["verifier/missing_frac"] == pytest.approx(1 / len(rows))
        assert record["policy/ratio_max_first_pass"] == 1.0


def test_too_many_lost_samples_stop_the_run_resumably(run_of):
    with pytest.raises(PawlError, match=r"the engine failed: a worker is gone \(1\)") as stopped:
        run_of("stopped", Lossy, ["reward.max_missing_frac=0"])
    assert stopped.value.code == Exit.STOPPED


def test_an_engine_that_fails_in_preflight_is_refused(run_of):
    class Broken(Lossy):
        since = -1

    with pytest.raises(PawlError, match="the engine failed: a worker is gone") as refused:
        run_of("broken", Broken)
    assert refused.value.code == Exit.USER and refused.value.where == "rollout.engine"


def test_truncation_that_an_engine_cannot_replay_is_refused(run_of):
    class Mute(Lossy):
        since = 99
        able = Capabilities(False, False, "sample", True, "tensors")

    result = run_of("plain", Mute, ["train.steps=1"])  # inexact streams only warn
    assert result.exit_code == Exit.OK
    with pytest.raises(PawlError, match="engine-replays") as refused:
        run_of("cut", Mute, ["rollout.top_k=5"])
    assert refused.value.where == "sampler-mismatch"
