"""Plain files: every shape that JSON and CSV are written in, spellings, and the user's map."""

from __future__ import annotations

import json
import math
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pawl.doctor.diagnose import diagnose
from pawl.errors import PawlError
from pawl.logs import json_stream
from pawl.logs.log import Log
from pawl.logs.names import plain
from pawl.logs.read_delimited import number, sign
from pawl.logs.recognise import column_map, read_logs
from pawl.logs.table import Table

SHARED = Path(__file__).resolve().parents[2] / "shared"
ROWS = [{"step": 10 * i, "reward": i / 10, "loss": 1.0 - i / 10} for i in range(1, 8)]
HISTORY = re.compile(r'"log_history"\s*:\s*\[')


def log(tmp_path: Path, body: object, name: str = "log", **names: str) -> Log:
    """The log of a file with a text, or of an object as JSON."""
    path = tmp_path / name
    path.write_text(body if isinstance(body, str) else json.dumps(body), encoding="utf-8")
    (found,) = read_logs(path, names)
    return found


def values(log: Log, name: str) -> list[float]:
    found = (log.series | log.unknown)[name]
    return [round(float(v), 9) for v in found.value_N]


@pytest.mark.parametrize(
    "body",
    [
        ROWS,
        json.dumps(ROWS, indent=4),
        "\n".join(map(json.dumps, ROWS)),
        "\ufeff" + "\r\n".join(map(json.dumps, ROWS)) + "\r\n",
        {"rows": ROWS},
        {"run": {"name": "x", "history": {"rows": ROWS}}},
        json.dumps({"history": {k: [row[k] for row in ROWS] for k in ROWS[0]}}),
        {"metrics": ROWS, "config": {"lr": 1e-5, "rollout": {"temperature": 0.9}}},
        "step,reward,loss\n" + "".join("{step},{reward},{loss}\n".format(**r) for r in ROWS),
        "# my run\nstep\treward\tloss\n"
        + "".join("{step}\t{reward}\t{loss}\n".format(**r) for r in ROWS),
        "step;reward;loss\n"
        + "".join("{step};{reward};{loss}\n".format(**r) for r in ROWS).replace(".", ","),
        {f"step_{r['step']}": {"reward": r["reward"], "loss": r["loss"]} for r in ROWS[::-1]},
        {k: {str(r["step"]): r[k] for r in ROWS} for k in ("reward", "loss")},
        {"name": "x", **{k: [[r["step"], r[k]] for r in ROWS] for k in ("reward", "loss")}},
        "   step  Avg reward  loss\n"
        + "".join(f"{i}  {r['step']}  {r['reward']}  {r['loss']}\n" for i, r in enumerate(ROWS)),
        "metric,"
        + ",".join(f"Step {r['step']}" for r in ROWS)
        + "\n"
        + "\n".join(",".join([k, *(str(r[k]) for r in ROWS)]) for k in ("reward", "loss")),
        "run,step,tag,value\n"
        + "".join(f"a,{r['step']},{k},{r[k]}\n" for r in ROWS for k in ("reward", "loss")),
    ],
)
def test_every_shape_gives_the_same_series(body: object, tmp_path: Path) -> None:
    found = log(tmp_path, body)
    assert list(found.step_N) == [row["step"] for row in ROWS]
    assert values(found, "reward/mean") == [row["reward"] for row in ROWS]
    assert values(found, "loss/total") == [round(row["loss"], 9) for row in ROWS]


@pytest.mark.parametrize("step", ["{}", "iter_{}"])
def test_a_long_table_has_a_row_for_each_step(tmp_path: Path, step: str) -> None:
    row = {"reward/total": 0.4, "by_group/frac_all_good": 0.5, "by_group/frac_all_bad": 0.1}
    text = "step,name,value\n" + "".join(
        f"{step.format(i)},env/all/{name},{value}\n"
        for i in range(1, 21)
        for name, value in row.items()
    )
    found = log(tmp_path, text)
    assert list(found.step_N) == list(range(1, 21))
    assert values(found, "group/zero_std_frac") == [0.6] * 20


def test_a_name_that_repeats_in_a_long_table_begins_a_row(tmp_path: Path) -> None:
    text = "step,name,value\n" + "".join(f"a,reward,0.{i}\na,loss,0.5\n" for i in range(1, 5))
    assert values(log(tmp_path, text), "reward/mean") == [0.1, 0.2, 0.3, 0.4]


def test_an_object_of_numbers_keeps_what_was_held_out_apart(tmp_path: Path) -> None:
    body = {
        "note": "x",
        "metrics": {
            "ppo_loss": 0.0,
            "kl": 0.0,
            "train_preference_accuracy": 0.0,
            "rm_eval": {"n": 20, "preference_accuracy": 0.3, "mean_margin": 0.09},
        },
    }
    found = log(tmp_path, body)
    assert {name: values(found, name) for name in found.series} == {
        "loss/total": [0.0],
        "policy/kl_ref": [0.0],
        "preference/accuracy": [0.0],
        "eval/preference_accuracy": [0.3],
        "eval/preference_margin": [0.09],
        "eval/preference_pairs": [20.0],
    }
    d = diagnose(found)
    assert (d.verdict, [c.id for c in d.causes]) == (
        "INVALID RUN",
        ["algebraic-identity", "degenerate-pairs"],
    )


def test_config_beside_the_records_is_no_metric(tmp_path: Path) -> None:
    body = {"epochs": ROWS, "config": {"kl_penalty": 0.05, "optim": {"lr": 1e-5}, "tag": "a"}}
    found = log(tmp_path, body)
    assert found.config == {"algo.kl_coef": 0.05, "optim.lr": 1e-5}
    assert found.other_config == {"tag": "a"}
    assert set(found.series) == {"reward/mean", "loss/total"}


def test_pairs_that_are_no_steps_are_no_series(tmp_path: Path) -> None:
    found = log(tmp_path, {"reward": 0.5, "confusion": [[3, 4], [5, 6]], "clip": [0.8, 1.2]})
    assert values(found, "reward/mean") == [0.5]
    body = {"a": {"1": 2.0, "x": "y"}, "confusion": [[3, 4], [3, 6]], "text": "z"}
    assert columns_of(log(tmp_path, body)) == {"a/1"}


def columns_of(log: Log) -> set[str]:
    return set(log.series | log.unknown)


def test_held_out_lists_are_joined_by_step(tmp_path: Path) -> None:
    body = {"train": ROWS, "eval": [{"step": 30, "reward": 0.9}, {"step": 60, "reward": 0.8}]}
    found = log(tmp_path, body)
    assert values(found, "eval/reward_mean") == [0.9, 0.8]
    assert list(found.step_N[found.series["eval/reward_mean"].row_N]) == [30, 60]


def test_numbers_in_texts_and_holes(tmp_path: Path) -> None:
    rows = [
        {"reward": "0.5", "kl": None, "loss": "Infinity"},
        {"reward": True, "kl": 0.1, "loss": "nan"},
        {"reward": 10**400, "kl": "?"},
    ]
    found = log(tmp_path, rows)
    assert values(found, "reward/mean") == [0.5, math.inf]
    assert list(found.series["reward/mean"].row_N) == [0, 2]
    assert list(found.series["policy/kl_ref"].row_N) == [1]
    assert values(found, "loss/total")[0] == math.inf
    assert math.isnan(values(found, "loss/total")[1])


def test_the_users_map_comes_first(tmp_path: Path) -> None:
    text = "it,reward,points,how\n" + "".join(f"{i},0,{i / 10},5\n" for i in range(9))
    found = log(tmp_path, text, points="reward/mean", it="step", how="component/how")
    assert values(found, "reward/mean") == [i / 10 for i in range(9)]
    assert values(found, "component/how") == [5.0] * 9
    assert list(found.step_N) == list(range(9))


def test_a_map_names_metrics() -> None:
    assert column_map(["a=b=reward/mean", "x=component/y"]) == {
        "a=b": "reward/mean",
        "x": "component/y",
    }
    for pair, words in (("a", "SOURCE=NAME"), ("a=reward/meen", "did you mean `reward/mean`")):
        with pytest.raises(PawlError) as e:
            column_map([pair])
        assert words in e.value.block()


@pytest.mark.parametrize(
    ("names", "form"),
    [
        ("Avg Reward|mean reward|reward (mean)|train/reward_mean|Reward|rewardMean", "reward"),
        ("KL divergence|Mean KL Divergence|klDivergence", "kl_divergence"),
        ("val_loss|eval/loss|Validation Loss|held-out loss|loss (eval)|test_loss", "eval_loss"),
        ("Best-of-N|best_of_n", "best_of_n"),
        ("reward_std|Reward Std|std_reward", "reward_std|reward_std|std_reward"),
        ("tests_passed|reward/test", "tests_passed|reward_test"),
        ("mean|train", "mean|train"),
    ],
)
def test_spellings(names: str, form: str) -> None:
    forms = [plain(name) for name in names.split("|")]
    assert forms == (form.split("|") if "|" in form else [form] * len(forms))


@given(st.text(max_size=30))
def test_plain_forms_are_their_own(name: str) -> None:
    assert plain(plain(name)) == plain(name) or not plain(name).isascii()


def test_what_is_not_sure_stays_unknown(tmp_path: Path) -> None:
    rows = [{"reward": 0.1, "accuracy": 0.2, "reward_max": 1.0, "kl_coef": 0.1, "value": 3.0}] * 3
    found = log(tmp_path, rows)
    assert set(found.series) == {"reward/mean"}
    assert set(found.unknown) == {"accuracy", "reward_max", "kl_coef", "value"} - set(found.series)


def test_canonical_names_mean_themselves(tmp_path: Path) -> None:
    row = {"step": 1, "length/mean": 9.0, "component/x": 0.5, "host": {"time/step_s": 2.0}}
    assert set(log(tmp_path, [row]).series) == {"length/mean", "component/x", "time/step_s"}


def test_rows_in_reverse_say_the_same(tmp_path: Path) -> None:
    for rows in (ROWS, [{**row, "epoch": row.pop("step")} for row in map(dict, ROWS)]):
        one, two = log(tmp_path, rows), log(tmp_path, rows[::-1])
        assert values(one, "reward/mean") == values(two, "reward/mean")
        assert list(one.step_N) == list(two.step_N)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("a,b\n1,2\n", ","),
        ("a;b\n1,5;2\n", ";"),
        ("a\tb\n1\t2\n", "\t"),
        ("a,b\nx,y\n", ""),
        ("1,2\n3,4\n", ""),
        ("Hello, world\nthis is text, 1 line\n", ""),
        ('"a b",c\n"1",2\n', ","),
        ("one column\n1\n", ""),
        ("epoch  Avg reward\n1 0.5\n2 nan\n", " "),
        ("name size\na 1\nb 2\n", ""),
        ("total 12\n1 2 3\n", ""),
    ],
)
def test_tables_are_told_by_their_content(head: str, expected: str) -> None:
    assert sign(head) == expected


@pytest.mark.parametrize(
    ("cell", "expected"), [("1,5", 1.5), (" -2e-3", -0.002), ("1,234,5", None), ("x", None)]
)
def test_cells(cell: str, expected: float | None) -> None:
    assert number(cell) == expected


DEEP = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@given(
    st.lists(st.dictionaries(st.text(max_size=3), DEEP, max_size=4), max_size=12),
    st.sampled_from([None, 0, 1, 2, "\t"]),
    st.booleans(),
    st.sampled_from([7, 64, 1 << 18]),
)
def test_lists_are_streamed_whatever_their_layout(
    rows: list[dict[str, object]], indent: int | str | None, ascii_only: bool, piece: int
) -> None:
    """Read in pieces of any size, a list gives its objects."""
    body = {"first": [{"x": 1}], "log_history": rows, "last": {"y": {"z": [1, {"a": 2}]}}}
    text = json.dumps(body, indent=indent, ensure_ascii=ascii_only)
    before, notes = json_stream.PIECE, list[str]()
    with tempfile.NamedTemporaryFile() as file:
        file.write(text.encode("utf-8", "surrogatepass"))
        file.flush()
        json_stream.PIECE = piece
        try:
            found = list(json_stream.objects(Path(file.name), HISTORY, notes))
        finally:
            json_stream.PIECE = before
    assert (found, notes) == (rows, [])


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.floats() | st.none() | st.text("1x"))))
def test_columns_hold_what_rows_held(rows: list[dict[str, object]]) -> None:
    table = Table()
    for row in rows:
        table.add(row)
    assert table.n == len(rows)
    for name in "abc":
        expected = []
        for i, row in enumerate(rows):
            value = row.get(name)
            if isinstance(value, float) or (isinstance(value, str) and set(value) == {"1"}):
                expected.append((i, float(value)))
        assert (name in table.columns) == bool(expected)
        if expected:
            row_N, value_N = table.column(name)
            assert list(row_N) == [i for i, _ in expected]
            np.testing.assert_array_equal(value_N, [v for _, v in expected])


@pytest.mark.skipif(not (SHARED / "runs").is_dir(), reason="needs ../shared/runs")
@pytest.mark.parametrize(
    ("name", "verdict", "reason"),
    [
        ("ancestor_rlhf", "INVALID RUN", "exactly 0"),
        ("ancestor_rlaif", "CANNOT TELL", "reward/mean, +0.00455, is within noise"),
        ("ancestor_ocaml", "CANNOT TELL", "within noise"),
    ],
)
def test_the_ancestors_runs(name: str, verdict: str, reason: str) -> None:
    (found,) = read_logs(SHARED / "runs" / f"{name}.json")
    d = diagnose(found)
    assert d.verdict == verdict
    assert reason in d.reason
    if name == "ancestor_rlhf":
        assert [cause.id for cause in d.causes] == ["algebraic-identity", "degenerate-pairs"]
        assert values(found, "eval/preference_pairs") == [20.0]
