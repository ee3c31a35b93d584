"""Damaged records: a resume is exact, or refuses with a message. Never a silent difference.

One small run with a patched learning rate is stopped beyond its newest checkpoint and copied; each
copy is damaged once, by seed, and resumed. A resume that goes on must end as the undamaged one did,
bit for bit in everything but `host`. (A line more in control.jsonl is a command more, as ever: here
one that is repeated changes nothing.) The quick test damages 16 copies, the slow one 200.
"""

import contextlib
import json
import random
import resource
import shutil
from collections import Counter

import pytest
import tiny_runs
from test_train_resume import without_host
from tiny_runs import resume

import pawl
from pawl.errors import Exit, PawlError
from pawl.models.export import run_policy
from pawl.store.digests import seal
from pawl.store.display import Silent
from pawl.store.read import read_events, read_samples, read_steps
from pawl.train import proved
from pawl.train.fork import open_fork

STEPS = 6
WAYS = ["train.steps=6", "checkpoint.every=2", "checkpoint.keep_last=3", "eval.every=3"]
WAYS += ["eval.problems=2", "rollout.prompts=2", "rollout.group_size=2", "rollout.max_tokens=6"]
PATCH = {"command": "patch", "set": {"optim.lr": 5e-4}}


class Killed(BaseException):
    """Stands for a kill -9: nothing is recorded of it."""


@pytest.fixture(scope="module")
def runs(model, tmp_path_factory):
    """(a run that was killed after step 5, with checkpoints 1, 2 and 4; how it ends undamaged)."""
    folder = tmp_path_factory.mktemp("damage")
    with pytest.MonkeyPatch.context() as patch:
        from pawl.store.run import RunFolder
        from pawl.train import loop

        real = loop.after_step

        def dying(s, progress, record, seen):
            real(s, progress, record, seen)
            if progress.state.step == STEPS - 1:
                raise Killed

        patch.setattr(loop, "after_step", dying)
        patch.setattr(RunFolder, "__exit__", lambda run, *_: run.close())
        with pytest.raises(Killed):
            tiny_runs.begin(
                folder, "base", tiny_runs.config(model), WAYS, [PATCH], proved=True, pool=True
            )
    base = folder / "base"
    assert [r["step"] for r in read_steps(base)] == [0, 1, 2, 3, 4, 5]
    names = sorted(p.name for p in (base / "checkpoints").iterdir())
    assert {"step-000001", "step-000002", "step-000004"} <= set(names)
    whole = shutil.copytree(base, folder / "whole")
    assert resume(whole).exit_code == Exit.OK
    return base, ending(whole)


def ending(run):
    """Everything that a damage must not change, of a run that came to its end."""
    files = sorted((run / "samples").iterdir())
    last = run / "checkpoints" / f"step-{STEPS:06d}"
    state = json.loads((last / "state.json").read_text())["state"]
    facts = json.loads((run / "run.json").read_text())
    return {
        "steps": without_host(run / "steps.jsonl"),
        "samples": {path.name: without_host(path) for path in files},
        "weights": {path.name: path.read_bytes() for path in sorted(last.rglob("*.safetensors"))},
        "state": {name: value for name, value in state.items() if name != "records"},
        "facts": {name: facts[name] for name in ("config", "parent", "seed", "data", "reward")},
    }


def lines_of(data, rng):
    lines = data.splitlines(keepends=True)
    return lines, rng.randrange(len(lines))


def cut(data, rng):
    return data[: rng.randrange(len(data))]


def flip(data, rng):
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def drop(data, rng):
    lines, i = lines_of(data, rng)
    return b"".join(lines[:i] + lines[i + 1 :])


def double(data, rng):
    lines, i = lines_of(data, rng)
    return b"".join(lines[: i + 1] + lines[i:])


def swap(data, rng):
    lines, i = lines_of(data, rng)
    j = rng.randrange(len(lines))
    lines[i], lines[j] = lines[j], lines[i]
    return b"".join(lines)


def digit(data, rng):
    """Another digit: the file can be read as before."""
    places = [i for i, byte in enumerate(data) if 48 <= byte <= 57]
    at = rng.choice(places) if places else 0
    return data[:at] + bytes([48 + (data[at] - 47) % 10]) + data[at + 1 :]


def empty(data, rng):
    return b""


DAMAGES = (cut, flip, drop, double, swap, digit, empty, None)  # None: the file is removed


def damage(run, seed):
    """Damage one file of a run, every kind of file as often as another; what was done."""
    rng = random.Random(seed)
    files = sorted(p for p in run.rglob("*") if p.is_file() and p.name != "run.lock")
    kinds = {}
    for path in files:
        place = path.relative_to(run).parts
        kinds.setdefault((place[0], path.suffix, path.name[:5]), []).append(path)
    path = rng.choice(kinds[sorted(kinds)[seed % len(kinds)]])
    how = DAMAGES[seed // len(kinds) % len(DAMAGES)]
    if how is None:
        path.unlink()
    elif data := path.read_bytes():
        path.write_bytes(how(data, rng))
    return f"seed {seed}: {how.__name__ if how else 'remove'} {path.relative_to(run)}"


def go_on(base, seed, folder):
    """(what was damaged, how the run ended or None when it was refused, the refusal)."""
    run = shutil.copytree(base, folder / f"run-{seed}")
    what = damage(run, seed)
    try:
        with contextlib.redirect_stdout(None):
            resume(run)
        return what, ending(run), ""
    except PawlError as e:
        assert e.code in (Exit.USER, Exit.STOPPED), (what, e)
        return what, None, e.block()
    finally:
        shutil.rmtree(run)


def hold(base, expected, seeds, folder):
    """Every damage is refused or changes nothing; the share that was refused."""
    refused = 0
    for seed in seeds:
        what, ended, message = go_on(base, seed, folder)
        refused += ended is None
        if ended is not None:
            parts = [name for name in expected if ended[name] != expected[name]]
            assert not parts, f"{what}: silently different: {parts}"
        else:
            assert message.startswith("error: "), (what, message)
    return refused


def test_a_damaged_run_resumes_exactly_or_not_at_all(runs, tmp_path):
    refused = hold(*runs, range(0, 16 * 13, 13), tmp_path)
    assert 0 < refused < 16  # neither is refusing everything exact


@pytest.mark.slow
def test_200_damages(runs, tmp_path):
    refused = hold(*runs, range(1000, 1200), tmp_path)
    assert 20 < refused < 180


def test_the_undamaged_run_resumes(runs, tmp_path):
    base, expected = runs
    run = shutil.copytree(base, tmp_path / "run")
    resume(run)
    assert ending(run) == expected


# ---- what a refusal says, and the way out that it names ------------------------------------------


@pytest.fixture
def run(runs, tmp_path):
    return shutil.copytree(runs[0], tmp_path / "run")


def refused(run):
    with pytest.raises(PawlError) as e:
        resume(run)
    assert e.value.code == Exit.USER
    return e.value


def test_a_refusal_names_the_file_and_how_far_back_the_records_hold(run):
    (run / "samples" / "step-000003.jsonl").unlink()
    error = refused(run)
    assert "before step 4 were damaged: samples/step-000003.jsonl is missing" in error.what
    assert f"`pawl train --from {run}@2`" in error.hint
    path, result = tiny_runs.fork(f"{run}@2")
    assert result.exit_code == Exit.OK and len(read_steps(path)) == STEPS + 1
    for source in (f"{run}@4", str(run)):  # a fork is as strict
        with pytest.raises(PawlError, match="is missing"):
            open_fork(source, ())
    assert "is missing" in refused(run).what  # nothing was made worse


def test_a_refusal_without_a_way_back_says_how_to_keep_the_weights(run):
    text = (run / "preflight.jsonl").read_text()
    (run / "preflight.jsonl").write_text(text.replace("true", "null", 1))
    (run / "steps.jsonl").write_text("")
    error = refused(run)
    assert "preflight.jsonl was changed; steps.jsonl holds 0 of 5 lines" in error.what
    assert f"`pawl export {run}@4 FOLDER`" in error.hint
    assert run_policy(f"{run}@4") is not None


def test_what_comes_after_the_checkpoint_is_cut_whatever_it_is(runs, run):
    with (run / "steps.jsonl").open("ab") as file:
        file.write(b"\xff\x00 no record\n{}\n")
    (run / "samples" / "step-000005.jsonl").write_bytes(b"\xff")
    resume(run)
    assert ending(run) == runs[1]
    cuts = [e for e in read_events(run) if e["kind"] == "cut"]
    assert (cuts[-1]["after_step"], cuts[-1]["records"], cuts[-1]["sample_files"]) == (4, 3, 1)


def test_forks_and_evaluations_go_by_the_options_that_pawl_wrote(run):
    text = (run / "run.json").read_text()
    (run / "run.json").write_text(text.replace('"lr": 0.001', '"lr": 0.101', 1))
    for use in (lambda: open_fork(f"{run}@4", ()), lambda: pawl.evaluate(f"{run}@4")):
        with pytest.raises(PawlError, match=r"run\.json was changed"):
            use()


def test_a_run_whose_checkpoints_are_gone_does_not_start_again(run):
    for folder in (run / "checkpoints").iterdir():
        shutil.rmtree(folder)
    assert "none is left" in refused(run).what
    (run / "steps.jsonl").unlink()
    assert "none is left" in refused(run).what


def test_a_fork_does_not_go_on_from_before_it_began(run):
    path, _ = tiny_runs.fork(f"{run}@4", "train.steps=5", "optim.lr=1e-4")
    for folder in sorted((path / "checkpoints").iterdir())[1:]:
        shutil.rmtree(folder)
    assert "none is left" in refused(path).what or "before this run forked" in refused(path).what


def test_a_patch_stands_in_a_checkpoint(run):
    """Dropping the newest event must not undo it: its step has a checkpoint."""
    assert (run / "checkpoints" / "step-000001").is_dir()
    assert [r["optim/lr"] for r in read_steps(run) if r["step"]][:2] == [1e-3, 5e-4]


def test_a_full_disk_in_the_middle_exits_4_and_can_be_resumed(model, runs, tmp_path):
    old = resource.getrlimit(resource.RLIMIT_FSIZE)

    class Filling(Silent):
        def step(self, record):
            if record["step"] == 3:
                resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, old[1]))

    with pytest.raises(PawlError, match="cannot write the checkpoint") as e:
        try:
            ways = [*WAYS, "reward.cache=false"]
            tiny_runs.begin(
                tmp_path, "full", tiny_runs.config(model), ways, [PATCH], display=Filling()
            )
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert e.value.code == Exit.STOPPED
    names = sorted(p.name for p in (tmp_path / "full" / "checkpoints").iterdir())
    assert names == ["step-000001", "step-000002"] or names[-1] == "step-000002"
    resume(tmp_path / "full")
    assert ending(tmp_path / "full")["weights"] == runs[1]["weights"]


def test_a_folder_that_vanishes_ends_the_run(model, tmp_path):
    class Removing(Silent):
        def step(self, record):
            if record["step"] == 2:
                shutil.rmtree(tmp_path / "gone")

    with pytest.raises(PawlError, match="moved or removed") as e:
        tiny_runs.begin(tmp_path, "gone", tiny_runs.config(model), WAYS, display=Removing())
    assert e.value.code == Exit.STOPPED and not (tmp_path / "gone").exists()


# ---- what was proved stays proved ----------------------------------------------------------------


def counted(patch):
    """How often calibrations and audits are made from here on."""
    made = Counter()
    for name in ("calibrate", "audit_prepared"):
        real = getattr(proved, name)

        def counting(*args, name=name, real=real):
            made[name] += 1
            return real(*args)

        patch.setattr(proved, name, counting)
    return made


def test_a_resume_calibrates_again_only_what_changed(run, monkeypatch):
    made = counted(monkeypatch)
    before = (run / "preflight.jsonl").read_bytes()
    resume(run, pool=True)
    assert not made and (run / "preflight.jsonl").read_bytes() == before
    monkeypatch.setattr(proved, "toolchain_facts", lambda: "another compiler")
    resume(run, pool=True)
    resume(run, pool=True)
    assert made == {"calibrate": 1}
    again = [e for e in read_events(run) if e["kind"] == "proved_again"]
    assert [(e["what"], e["changed"]) for e in again] == [("calibration", ["toolchain"])]
    (run / "proved.json").write_text((run / "proved.json").read_text().replace("true", "false", 1))
    resume(run, pool=True)  # damaged: it proves nothing
    assert made == {"calibrate": 2}
    resume(run)  # a callable: nobody knows what changed in it
    assert made == {"calibrate": 3}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("ocamlc") is None, reason="no OCaml compiler: install ocaml-nox")
def test_a_resume_audits_again_only_what_changed(model, tmp_path, monkeypatch):
    made = counted(monkeypatch)
    text = tiny_runs.config_of(model, "code") + "prompt: {max_tokens: 2000}\n"
    text = text.replace("problems: {", "problems: {audit: true, limit: 2, ")
    stop = [{"command": "stop"}]
    path, _ = tiny_runs.begin(tmp_path, "audited", text, ["train.steps=2"], stop, pool=True)
    resume(path, pool=True)
    assert made == {"calibrate": 1, "audit_prepared": 1}
    assert [e["kind"] for e in read_events(path)].count("audit") == 3
    assert len(read_steps(path)) == 3
    body = json.loads((path / "proved.json").read_text())
    body["audit"]["found"][0] = [next(read_samples(path, 1))["problem_id"]]
    (path / "proved.json").write_text(json.dumps(body | {"digest": seal(body)}))
    with pytest.raises(PawlError, match="the data is not what this run began with"):
        resume(path, pool=True)  # so it is what the audit left out that counts
