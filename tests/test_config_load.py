"""Configs: order of sources, every error at once with its place, and where values came from."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pawl.config.load import from_mapping, load_run, load_sft, overridden
from pawl.config.options import RunConfig, SftConfig
from pawl.config.parse import LONGEST, VALUES
from pawl.config.presets import PRESETS
from pawl.config.tree import leaves, options
from pawl.errors import Exit, PawlError, PawlErrors


def errors_of(
    path: Path, text: str, overrides: tuple[str, ...] = (), environ: Mapping[str, str] | None = None
) -> list[PawlError]:
    """The errors of loading `text`; fails when it loads."""
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PawlErrors) as caught:
        load_run(path, overrides, environ or {})
    assert caught.value.code == Exit.USER
    return caught.value.errors


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a test's config stands."""
    return tmp_path / "run.yaml"


def test_order_of_sources_and_provenance(file: Path) -> None:
    file.write_text("seed: 1\noptim:\n  lr: 1e-5\n  beta1: 0.5\n  beta2: 0.6\n")
    environ = {"PAWL_OPTIM__BETA1": "0.7", "PAWL_OPTIM__BETA2": "0.8", "HOME": "/"}
    cfg, places = load_run(file, ["optim.beta2=0.9"], environ)
    assert (cfg.optim.lr, cfg.optim.beta1, cfg.optim.beta2) == (1e-5, 0.7, 0.9)
    assert places["optim.lr"] == f"{file}:3"
    assert places["optim.beta1"] == "environment PAWL_OPTIM__BETA1"
    assert places["optim.beta2"] == "command line"
    assert places["optim.eps"] == "default"
    assert (cfg.name, places["name"]) == ("run", "file name")
    assert set(places) == {path for path, _ in options(RunConfig)}


def test_all_errors_at_once_with_line_and_nearest_name(file: Path) -> None:
    text = """seed: 3
optim:
  lr: 5
  lrr: 3
  lr: 3
rolout: {x: 1}
rollout:
  group_size: 1
  prompts: "8"
  engine: loca
rules:
  - when: step 3
    metric: reward/mean
    valu: 3
train: {steps: 3, epochs: 1}
model: {lora: {r: 3, dropout: 0.1}}
"""
    found = {e.where.removeprefix(f"{file}:"): e.block() for e in errors_of(file, text)}
    assert "`optim.lr` = 5 is outside [0, 1]" in found["3"]
    assert "did you mean `optim.lr`?" in found["4"]
    assert "given twice" in found["5"]
    assert "did you mean `rollout`?" in found["6"]
    assert "needs at least 2" in found["8"]
    assert 'wants a whole number, got "8" (text)' in found["9"]
    assert 'did you mean "local"?' in found["10"]
    assert "did you mean `rules.0.value`?" in found["14"]
    assert "give one length of the run" in found["15"]
    assert "RL needs 0" in found["16"]
    assert len(found) == 10


def test_mini_batches_hold_whole_groups(file: Path) -> None:
    (error,) = errors_of(file, "algo: {minibatches: 5}\n")
    assert "must divide rollout.prompts = 16" in error.block()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("reward: {clip: [1, 0]}", "`reward.clip`: [1.0, 0.0] is not [low, high]"),
        ("reward: {clip: [0]}", "`reward.clip`: [0.0] is not [low, high]"),
        ("algo: {filter: share 1.0}", "a share is 0 or more and below 1"),
        ("algo: {filter: share -0.5}", "a share is 0 or more and below 1"),
        ("algo: {filter: best 3}", "has the wrong form"),
    ],
)
def test_what_stands_around_the_loss_is_checked(file: Path, text: str, words: str) -> None:
    (error,) = errors_of(file, text)
    assert words in error.block()
    assert error.where == f"{file}:1"


def test_environment_and_command_line_errors(file: Path) -> None:
    environ = {"PAWL_OPTIM__LRR": "1", "PAWL_SEED": "x", "PAWL_OUT": "sft's own option"}
    overrides = ("eval.evry=3", "foo", "train=[", "optim.lr.x=1", "problems.limit=-1")
    found = [e.block() for e in errors_of(file, "", overrides, environ)]
    assert len(found) == 7
    text = "\n".join(found)
    assert (
        "environment PAWL_OPTIM__LRR: names no option\n  help: did you mean PAWL_OPTIM__LR" in text
    )
    assert 'environment PAWL_SEED: `seed` wants a whole number, got "x"' in text
    assert "unknown option `eval.evry`\n  help: did you mean `eval.every`?" in text
    assert "`foo` is not of the form section.option=value" in text
    assert "`optim.lr` is an option, not a section" in text
    assert "command line: `problems.limit` = -1 is outside >= 0" in text


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("optim: {lr: 1e-5\n", 2, "unreadable YAML"),
        ("\tseed: 1\n", 1, "spaces"),
        ("seed: 1\n---\nseed: 2\n", 2, "single document"),
        ("seed: *nothing\n", 1, "undefined alias"),
    ],
)
def test_unreadable_yaml(file: Path, text: str, line: int, words: str) -> None:
    file.write_text(text)
    with pytest.raises(PawlError) as caught:
        load_run(file, [], {})
    assert caught.value.where == f"{file}:{line}"
    assert words in caught.value.block()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- 1\n", "not a mapping"),
        ("just text\n", "not a mapping"),
        ("seed: &a {b: *a}\n", "or for itself"),
        ("problems: {train: !!python/object:os.system x}\n", "tag"),
        ("target: {value: .nan}\n", "not a finite number"),
        ("rules: [{when: step 3, metric: a, value: .inf}]\n", "`rules.0.value` = inf is not a"),
        ("optim: {lr: true}\n", "wants a number, got true"),
        ("name: 7\n", "put it in quotes"),
        (f"seed: {2**63}\n", "is outside [0, 9223372036854775807]"),
        ("prompt: {date: 2026-13-01}\n", "month must be in 1..12"),
        ("prompt: {date: today}\n", "wrong form"),
        ("prompt: {template_args: 3}\n", "wants names and values"),
        ("prompt: {template_args: {a: [1]}}\n", "`prompt.template_args.a` wants true or false"),
        ("prompt: {template_args: {a: no}}\n", "a: no is text, which counts as true"),
        ("prompt: {template_args: {a: 1, a: 2}}\n", "given twice"),
        ("rules: 3\n", "wants a list"),
        ("rules: [3]\n", "`rules.0` wants a section"),
        ("rules: [{metric: reward/mean}]\n", "`rules.0.when` is required"),
        ("rollout: {stop: [1]}\n", "`rollout.stop.0` wants text"),
        ("optim: 3\n", "`optim` is a section"),
        ("reward: {stages: {tests: 0.5}}\n", "sum to 0.85"),
    ],
)
def test_wrong_shapes(file: Path, text: str, words: str) -> None:
    found = "\n".join(e.block() for e in errors_of(file, text))
    assert words in found
    assert str(file) in found


def test_missing_and_binary_files(tmp_path: Path) -> None:
    (tmp_path / "quickstart.yaml").write_text("seed: 1\n")
    with pytest.raises(PawlError, match=r"did you mean .*quickstart\.yaml") as caught:
        load_run(tmp_path / "quikstart.yaml", [], {})
    assert caught.value.code == Exit.USER
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PawlError, match="not a text file"):
        load_run(tmp_path / "x.yaml", [], {})
    with pytest.raises(PawlError, match="cannot read"):
        load_run(tmp_path, [], {})


def test_text_options_take_text_as_it_is(file: Path) -> None:
    file.write_text("")
    overrides = ["name=007", "model.device=cuda:1", "reward.end_marker=", 'prompt.system="a b"']
    cfg, _ = load_run(file, overrides, {})
    assert (cfg.name, cfg.model.device, cfg.reward.end_marker) == ("007", "cuda:1", "")
    assert cfg.prompt.system == "a b"


def test_reward_in_short_merges_with_overrides(file: Path) -> None:
    file.write_text("reward: mine.py:score\n")
    cfg, places = load_run(file, ["reward.min_lines=2"], {})
    assert (cfg.reward.use, cfg.reward.min_lines) == ("mine.py:score", 2)
    assert places["reward.use"] == f"{file}:1"


def test_whole_sections_and_lists_can_be_overridden(file: Path) -> None:
    file.write_text("target: {value: 0.5}\nrollout: {stop: [a]}\n")
    assert load_run(file, ["target=null"], {})[0].target is None
    cfg, _ = load_run(file, ["rollout.stop=[b, c]", "target.value=0.7"], {})
    assert cfg.rollout.stop == ("b", "c")
    assert cfg.target is not None
    assert cfg.target.value == 0.7


def test_sft_config(file: Path) -> None:
    file.write_text("data: x.jsonl\nout: model\n")
    cfg, _ = load_sft(file, ["optim.lr=1e-3"], {"PAWL_ROLLOUT__PROMPTS": "a run's option"})
    assert (cfg.data, cfg.optim.lr) == ("x.jsonl", 1e-3)
    file.write_text("")
    with pytest.raises(PawlErrors) as caught:
        load_sft(file, [], {})
    assert [e.what for e in caught.value.errors] == ["`data` is required", "`out` is required"]


@given(
    lr=st.floats(0, 1),
    seed=st.integers(0, 2**31),
    stop=st.lists(st.text("abc\"'\\: #\n", max_size=5), max_size=3),
)
def test_what_is_written_as_yaml_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, lr: float, seed: int, stop: list[str]
) -> None:
    """JSON is YAML: any value survives the file, however it is spelled."""
    import json

    file = tmp_path_factory.mktemp("config") / "run.yaml"
    file.write_text(json.dumps({"optim": {"lr": lr}, "seed": seed, "rollout": {"stop": stop}}))
    cfg, _ = load_run(file, [], {})
    assert (cfg.optim.lr, cfg.seed, list(cfg.rollout.stop)) == (lr, seed, stop)


@pytest.mark.parametrize("model", [RunConfig, SftConfig])
def test_options_and_leaves_agree(model: type[RunConfig] | type[SftConfig]) -> None:
    required = {"data": "x", "out": "y"} if model is SftConfig else {}
    flat = leaves(model(**required))
    plain = {path for path, _ in options(model)}
    assert {p for p in plain if not p.startswith("target.")} <= set(flat)


def test_presets_load(root: Path) -> None:
    presets = sorted((root / "examples").glob("*.yaml"))
    assert presets
    for preset in presets:
        cfg, places = load_run(preset, [], {})
        assert cfg.name == preset.stem or places["name"] != "file name"


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_set_what_nobody_set(preset: str, file: Path) -> None:
    file.write_text(f"algo: {{preset: {preset}}}")
    cfg, places = load_run(file)
    for option, value in PRESETS[preset].items():
        section, name = option.split(".")
        assert getattr(getattr(cfg, section), name) == value
        assert places[option] == f"preset {preset}"


def test_the_user_wins_over_a_preset(file: Path) -> None:
    file.write_text("algo: {preset: dapo, clip_high: 0.3}")
    cfg, places = load_run(file, ["algo.normaliser=constant"])
    assert (cfg.algo.clip_high, cfg.algo.normaliser) == (0.3, "constant")
    assert (places["algo.clip_high"], places["algo.normaliser"]) == (f"{file}:1", "command line")


def test_a_preset_among_overrides_sets_what_they_leave_open() -> None:
    cfg = overridden(RunConfig(), ["algo.preset=dapo", "algo.clip_low=0.1"], {})
    assert (cfg.algo.clip_high, cfg.algo.clip_low, cfg.algo.normaliser) == (0.28, 0.1, "token")


def test_a_preset_of_the_environment_changes_no_option_of_a_run() -> None:
    cfg = RunConfig()
    preset = {"PAWL_ALGO__PRESET": "dapo"}
    assert overridden(cfg, [], preset).reward == cfg.reward
    assert overridden(cfg, ["seed=3"], preset).algo.clip_high == cfg.algo.clip_high


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("algo: {dual_clip: 0.5}", "must be above 1"),
        ("algo: {dual_clip: 3.0, loss: cispo}", "belongs to the loss clip"),
        ("algo: {kl_target: 1.0}", "must start above 0"),
        ("algo: {advantage: pass_at_k, pass_k: 9}", "exceeds rollout.group_size"),
        ("algo: {preset: grop}", 'did you mean "grpo"?'),
    ],
)
def test_settings_that_do_not_fit_together(text: str, words: str, file: Path) -> None:
    assert words in errors_of(file, text)[0].block()


DEEP, WIDE = "[" * 14 + "]" * 14, ", ".join(["1"] * VALUES)
BOMB = "a: &a [1, 1, 1, 1]\n" + "".join(
    f"{y}: &{y} [*{x}, *{x}, *{x}, *{x}]\n" for x, y in itertools.pairwise("abcdefg")
)  # 4 ** 7 values in seven lines


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"problems: {DEEP}\n", "nested deeper than 12 levels"),
        ("- " * 14 + "1\n", "nested deeper than 12 levels"),
        (f"seed: [{WIDE}]\n", "more than 3,000 values"),
        ("a: 1\n" * (VALUES // 2), "more than 3,000 values"),
        (BOMB, "stands for more than 3,000 values"),
        ("# " + "x" * LONGEST, "longer than 131,072 characters"),
    ],
)
def test_more_than_a_config_is_refused_before_it_is_read(file: Path, text: str, words: str) -> None:
    for whole, overrides in ((text, []), ("", [f"seed={text}"])):
        file.write_text(whole)
        with pytest.raises(PawlError) as caught:
            load_run(file, overrides, {})
        assert words in caught.value.block()
        assert len(caught.value.block().splitlines()) < 5 and caught.value.code == Exit.USER
    cfg, _ = load_run(file, ["problems.train=a"], {})
    assert cfg.problems.train == "a"


def test_a_large_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    with (tmp_path / "data.yaml").open("wb") as f:
        f.truncate(1 << 34)  # 16 GiB of zeros that take no room
    with pytest.raises(PawlError, match=r"longer than .*\n.*file of data"):
        load_run(tmp_path / "data.yaml", [], {})


@pytest.mark.parametrize("name", ["../x", "a/b", "/etc/x", "..", "a\nb", "x" * 300])
def test_a_name_is_the_name_of_one_folder(file: Path, name: str) -> None:
    file.write_text(f"seed: 1\nname: {json.dumps(name)}\n")
    with pytest.raises(PawlError, match="a run's name") as caught:
        load_run(file, [], {})
    assert caught.value.where == f"{file}:2"
    file.write_text("")
    with pytest.raises(PawlError, match="a run's name"):
        load_run(file, [f"name={name}"], {})


def test_no_path_holds_a_nul(file: Path) -> None:
    file.write_text('runs_dir: "a\\0b"\nmodel: {path: "\\0"}\n')
    with pytest.raises(PawlErrors) as caught:
        load_run(file, [], {})
    found = [e.what for e in caught.value.errors]
    assert found == ["`runs_dir` holds a NUL character", "`model.path` holds a NUL character"]


def test_arguments_of_a_chat_template_are_an_option_whose_names_the_user_gives(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("prompt:\n  date: 2026-11-30\n  template_args:\n    enable_thinking: false\n")
    more = ["prompt.template_args.effort=high", "prompt.template_args.n=3"]
    cfg, places = load_run(path, more, {})
    assert cfg.prompt.date == "2026-11-30"
    assert cfg.prompt.template_args == {"enable_thinking": False, "effort": "high", "n": 3}
    assert places["prompt.template_args"] == "command line"
    assert leaves(cfg)["prompt.template_args"] == cfg.prompt.template_args
    assert overridden(cfg, ["prompt.template_args={a: 1.5}"], {}).prompt.template_args == {"a": 1.5}
    named = from_mapping({"prompt.template_args": {"b": True}})[0]
    assert named.prompt.template_args == {"b": True}
