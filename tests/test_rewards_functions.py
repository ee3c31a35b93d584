"""Users' functions: what they may return and declare, where each kind runs, what goes wrong.

The async ones ask a real server on the loopback. Left out: how worker processes live and die
(test_rewards_pool.py), what measurements are paid (test_rewards_pay.py).
"""

from __future__ import annotations

import asyncio
import functools
import sys
import threading
import types
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pawl.config.options import ComponentConfig, RewardConfig, SandboxConfig
from pawl.errors import Exit, PawlError
from pawl.rewards.functions import FunctionScorer
from pawl.rewards.grader import Grader
from pawl.rewards.pay import TOTAL, Row
from pawl.rewards.user import UserReward, broken_grader, load_user_reward
from pawl.types import Case, CodeTask, Completion, Measurement, Problem, Score

PROBLEM = Problem("p", "Say hello.", metadata={"answer": "hello"})  # no tests
CODE = Problem("c", "Add.", CodeTask("python", "f", (Case("[1]", "2"), Case("[5]", "6"))))
RIGHT = "def f(x):\n    return x + 1\n"
ONE = SandboxConfig(workers=1)


def texts(*words: str) -> list[Completion]:
    return [Completion("p", word) for word in words]


def write(tmp_path: Path, text: str, name: str = "mine.py") -> str:
    """A file of a user's; the `use` string of its function `grade`."""
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return f"{path}:grade"


def reward_file(tmp_path: Path, body: str, after: str = "", kind: str = "def") -> str:
    return write(tmp_path, f"{kind} grade(problem, completions):\n{body}\n{after}\n")


def scored(use: str, *words: str, problem: Problem = PROBLEM, **more: object) -> list[Score]:
    """One group, by a reward of one function."""
    with Grader(RewardConfig.model_validate({"use": use, **more}), ONE) as grader:
        return grader.score([(problem, texts(*words))])[0]


def collect(grader: Grader, n: int) -> dict[Hashable, list[Row]]:
    done: dict[Hashable, list[Row]] = {}
    while len(done) < n:
        done.update(grader.poll(1.0))
    return done


def totals(scores: Sequence[Score]) -> list[float | None]:
    return [s.total for s in scores]


# ---- what a function returns ---------------------------------------------------------------------


def test_a_number_is_a_reward_without_a_verdict(tmp_path: Path) -> None:
    use = reward_file(tmp_path, "    return [len(c.text) / 10 for c in completions]")
    both = scored(use, "12345", "1234567890")
    assert totals(both) == [0.5, 1.0]
    assert [s.verdict for s in both] == [None, None] and not both[1].passed
    assert (both[0].components, both[0].branch, both[0].n_cases) == ({"grade": 0.5}, "user", 0)


def test_a_problem_without_tests_is_judged_by_its_other_columns(tmp_path: Path) -> None:
    body = "    return [float(problem.metadata['answer'] in c.text) for c in completions]"
    assert totals(scored(reward_file(tmp_path, body), "oh, hello", "goodbye")) == [1.0, 0.0]


def test_none_is_missing_and_a_measurement_passes_through(tmp_path: Path) -> None:
    body = """
    from pawl.types import Measurement, missing
    whole = Measurement("measured", {"total": 0.5, "seen": 2.0}, "compile", "r", {"tokens": 7.0})
    known = {"a": None, "b": missing("judge is away"), "c": whole}
    return [known[c.text] for c in completions]
"""
    first, second, third = scored(reward_file(tmp_path, body), "a", "b", "c")
    assert (first.status, first.total) == (second.status, second.total) == ("missing", None)
    assert "gave no value" in first.reason and second.reason == "judge is away"
    assert (third.total, third.verdict, third.reason) == (0.5, "compile", "r")
    assert third.components == {"seen": 2.0}
    with Grader(RewardConfig(use=reward_file(tmp_path, body)), ONE) as grader:
        rows = grader.measure([(PROBLEM, texts("a", "b", "c"))])[0]
    assert rows[2][TOTAL].usage == {"tokens": 7.0}


def test_a_measurement_with_values_is_measured_whatever_it_says() -> None:
    class Own(Measurement):
        """A user's own kind, which other processes do not know."""

    status: Any = "scored"  # a user's mistake
    odd = Own(status, {"total": 0.5}, "wrong", "r", {"tokens": 7.0}, 1, 2, "unsafe", 9.0, True)
    (found,) = UserReward("f", lambda problem, cs: [odd], None).call(PROBLEM, texts("a"))
    assert type(found) is Measurement
    plain = Measurement("measured", {"total": 0.5}, "wrong", "r", {"tokens": 7.0}, 1, 2)
    assert found == plain


def measure(value: object, scale: tuple[float, float] = (0.0, 1.0)) -> dict[str, float]:
    """The values of what a function returned for one completion."""
    reward = UserReward("f", functools.partial(lambda p, c: [value]), None)
    reward.scale = scale
    return dict(reward.call(PROBLEM, texts("a"))[0].values)


def test_of_named_numbers_total_is_paid_or_their_sum() -> None:
    assert measure({"a": 0.25, "b": 0.5}) == {"a": 0.25, "b": 0.5, "total": 0.75}
    assert measure({"a": 5, "b": -2, "total": 0.5}) == {"a": 5.0, "b": -2.0, "total": 0.5}
    assert measure({"total": 0.5}) == {"total": 0.5}
    assert measure(True) == {"total": 1.0}
    tenths = {f"x{i}": 0.1 for i in range(10)}
    assert measure(tenths)["total"] == 1.0
    with pytest.raises(PawlError, match=r"returned 1.25 for p, expected 0 to 1"):
        measure({"a": 0.5, "b": 0.75})


def test_named_numbers_are_components_alone_and_in_a_mix(tmp_path: Path) -> None:
    use = reward_file(tmp_path, "    return [{'clear': 0.5, 'short': 0.25} for c in completions]")
    alone = scored(use, "a")[0]
    assert (alone.total, alone.components) == (0.75, {"clear": 0.5, "short": 0.25})
    parts = (ComponentConfig(name="code"), ComponentConfig(name="style", use=use, weight=0.1))
    with Grader(RewardConfig(components=parts), ONE) as grader:
        score = grader.score([(CODE, texts(RIGHT))])[0][0]
    assert (score.verdict, score.branch) == ("pass", "pass+style")
    assert score.total == pytest.approx(0.95 + 0.1 * 0.75)
    named = {"code": 0.95, "style": 0.75, "style_clear": 0.5, "style_short": 0.25}
    assert {n: score.components[n] for n in named} == named
    assert {"tests", "types", "compile"} < set(score.components)


@pytest.mark.parametrize("kind", ["def", "async def"])
@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("    return 1.0", "returned float, expected a list"),
        ("    return []", "0 values for 1 completions"),
        ("    return [2.5]", "returned 2.5 for p, expected 0 to 1"),
        ("    return [float('nan')]", "expected a finite number"),
        ("    return ['good']", "returned 'good' for p, expected a number"),
        ("    return [{'a': 'good'}]", "returned 'good' for p, expected a number"),
        ("    return [{'A b': 1}]", r"returned the names \['A b'\]"),
        ("    return [{}]", "returned the names"),
        (
            "    from pawl.types import Measurement\n    return [Measurement('measured')]",
            "a Measurement with status measured and values {}",
        ),
        (
            "    from pawl.types import Measurement\n"
            "    return [Measurement('missing', {'total': 1})]",
            "a Measurement with status missing",
        ),
    ],
)
def test_a_broken_contract_names_file_and_line(
    body: str, what: str, kind: str, tmp_path: Path
) -> None:
    reward = load_user_reward(reward_file(tmp_path, body, kind=kind))
    with pytest.raises(PawlError, match=what) as caught:
        if reward.is_async:
            asyncio.run(reward.call_async(PROBLEM, texts("a")))
        else:
            reward.call(PROBLEM, texts("a"))
    assert caught.value.where == f"{tmp_path / 'mine.py'}:1"
    assert caught.value.code == Exit.USER


# ---- what a function declares --------------------------------------------------------------------


def test_a_scale_is_accepted_as_declared(tmp_path: Path) -> None:
    body = "    return [float(c.text) for c in completions]"
    use = reward_file(tmp_path, body, "grade.scale = (-3, 3)")
    assert totals(scored(use, "-3", "0.5", "3")) == [-3.0, 0.5, 3.0]
    with Grader(RewardConfig(use=use), ONE) as grader:
        assert grader.scale == (-3.0, 3.0)
        with pytest.raises(PawlError, match=r"returned 3.5 for p, expected -3 to 3") as caught:
            grader.score([(PROBLEM, texts("3.5"))])
    assert caught.value.where == f"{tmp_path / 'mine.py'}:1"
    assert "scale" in caught.value.hint and caught.value.code == Exit.USER


def test_what_passes_an_end_of_the_scale_by_rounding_is_cut_to_it() -> None:
    assert measure(1.0 + 1e-12) == {"total": 1.0}
    assert measure(-3.0 - 1e-12, (-3.0, 3.0)) == {"total": -3.0}


@pytest.mark.parametrize(
    "scale", ["(1, 0)", "(1, 1)", "3", "(0, 1, 2)", "(0, float('inf'))", "('a', 'b')", "None"]
)
def test_a_scale_that_is_none_is_refused_at_once(scale: str, tmp_path: Path) -> None:
    use = reward_file(tmp_path, "    return [0.0]", f"grade.scale = {scale}")
    with pytest.raises(PawlError, match="declares the scale") as caught:
        Grader(RewardConfig(use=use), ONE)
    assert caught.value.where == f"{tmp_path / 'mine.py'}:1"


def test_a_scale_beyond_a_cap_that_nobody_set_is_refused(tmp_path: Path) -> None:
    use = reward_file(tmp_path, "    return [3.0]", "grade.scale = (-3, 3)")
    part = {"name": "style", "use": use}
    with pytest.raises(PawlError, match="declares a scale up to 3, and its cap is 1") as caught:
        Grader(RewardConfig.model_validate({"components": [part]}), ONE)
    assert "set its cap, for instance to 3" in caught.value.hint
    for change in ({"cap": 1.0}, {"cap": 3.0}, {"relative": "rank"}):
        cfg = RewardConfig.model_validate({"components": [{**part, **change}]})
        with Grader(cfg, ONE) as grader:
            assert grader.scale[1] == change.get("cap", 1.0)


def test_the_scale_of_a_mix_is_what_it_can_pay(tmp_path: Path) -> None:
    use = reward_file(tmp_path, "    return [0.0]", "grade.scale = (-3, 3)")

    def scale(relative: str) -> tuple[float, float]:
        part = {"name": "a", "use": use, "weight": 0.5, "cap": 100, "relative": relative}
        with Grader(RewardConfig.model_validate({"components": [part]}), ONE) as grader:
            assert grader.whole_group == (relative != "none")
            return grader.scale

    assert [scale(r) for r in ("none", "rank", "mean")] == [(-1.5, 1.5), (0.0, 0.5), (-3.0, 3.0)]


def test_an_object_or_a_class_with_a_score_method_serves(tmp_path: Path) -> None:
    text = """
class Judge:
    scale = (-1, 1)
    def score(self, problem, completions):
        return [-0.25 for c in completions]

grade = Judge()
"""
    use = write(tmp_path, text)
    for name in ("grade", "Judge"):
        reward = load_user_reward(use.replace("grade", name))
        assert reward.call(PROBLEM, texts("a"))[0].values == {"total": -0.25}
        assert reward.scale == (-1.0, 1.0)
        assert reward.where == f"{tmp_path / 'mine.py'}:4"


def test_decorated_functions_are_what_they_are(tmp_path: Path) -> None:
    text = """
import functools

def same(f):
    @functools.wraps(f)
    def inner(*args):
        return f(*args)
    return inner

def in_turn(f):
    @functools.wraps(f)
    async def inner(*args):
        return f(*args)
    return inner

@same
async def one(problem, completions):
    return [0.5]

@in_turn
def two(problem, completions):
    return [0.5]

class Three:
    async def __call__(self, problem, completions):
        return [0.5]

three = Three()
"""
    use = write(tmp_path, text)
    for name in ("one", "two", "three"):
        reward = load_user_reward(use.replace(":grade", f":{name}"))
        assert reward.is_async
        assert asyncio.run(reward.call_async(PROBLEM, texts("a")))[0].values == {"total": 0.5}


# ---- loading -------------------------------------------------------------------------------------


def test_what_cannot_be_loaded_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PawlError, match="no such file"):
        load_user_reward(f"{tmp_path}/none.py:f")
    with pytest.raises(PawlError, match="has no grad") as caught:
        load_user_reward(reward_file(tmp_path, "    return [0]").replace(":grade", ":grad"))
    assert "grade" in caught.value.hint
    with pytest.raises(PawlError, match="no reward is called 'cod'"):
        load_user_reward("cod")
    with pytest.raises(PawlError, match="is a Python callable") as caught:
        load_user_reward("callable:mine")
    assert "hand it in again" in caught.value.hint


def test_an_exception_is_told_with_the_line_that_raised(tmp_path: Path) -> None:
    use = reward_file(tmp_path, "    x = 0\n    return [1 / x]")
    try:
        load_user_reward(use).call(PROBLEM, texts("a"))
        raise AssertionError("it must raise")
    except ZeroDivisionError as error:
        told = broken_grader(error, [use])
    assert told is not None
    assert told.where == f"{tmp_path / 'mine.py'}:3"
    assert "ZeroDivisionError: division by zero" in told.what


def test_the_fingerprint_follows_the_file_and_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "neighbour.py").write_text("K = 1\n")
    use = reward_file(tmp_path, "    from neighbour import K\n    return [K]")
    reward = load_user_reward(use)
    first = reward.fingerprint()
    assert load_user_reward(use).fingerprint() == first
    reward_file(tmp_path, "    from neighbour import K\n    return [K / 2]")
    assert load_user_reward(use).fingerprint() != first


def test_prints_of_a_users_module_do_not_reach_standard_output(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    text = """
print("words while loading")
def grade(problem, completions):
    print("words while scoring")
    return [0.5 for c in completions]
"""
    assert totals(scored(write(tmp_path, text), "a")) == [0.5]
    out, err = capfd.readouterr()
    assert out == "" and "words while loading" in err and "words while scoring" in err


# ---- async: many calls on the way ----------------------------------------------------------------


class Judge:
    """A server on the loopback: it answers each line by its number of letters over 100.

    together: answers nothing until so many calls are there at once. peak: the most at once.
    """

    def __init__(self, together: int) -> None:
        self._together, self._now = together, 0
        self.port = self.peak = self.answered = 0
        self._up = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    async def _serve(self) -> None:
        self._loop, self._stop, self._full = asyncio.get_running_loop(), asyncio.Event(), False
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0, backlog=256)
        self.port = server.sockets[0].getsockname()[1]
        self._up.set()
        async with server:
            await self._stop.wait()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        self._now += 1
        self.peak = max(self.peak, self._now)
        while not self._full:
            await asyncio.sleep(0.1)  # one call too many would come in this time
            self._full = self.peak >= self._together
        self._now -= 1
        self.answered += 1
        writer.write(f"{len(line.strip()) / 100}\n".encode())
        await writer.drain()
        writer.close()

    def __enter__(self) -> Judge:
        self._thread.start()
        assert self._up.wait(10)
        return self

    def __exit__(self, *raised: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)


ASKS = """
import asyncio

async def grade(problem, completions):
    assert len(completions) == 1
    reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
    writer.write(completions[0].text.encode() + b"\\n")
    value = float(await reader.readline())
    writer.close()
    return [value]
"""


@pytest.mark.parametrize("in_flight", [3, 64])
def test_async_calls_overlap_and_never_exceed_in_flight(in_flight: int, tmp_path: Path) -> None:
    with Judge(in_flight) as judge:
        use = write(tmp_path, ASKS.replace("PORT", str(judge.port)))
        with Grader(RewardConfig(use=use, in_flight=in_flight), ONE) as grader:
            assert grader.worker_pids() == []  # what awaits stays in this process
            groups = [(PROBLEM, texts(*("x" * (8 * g + m) for m in range(8)))) for g in range(12)]
            scores = grader.score(groups)
    expected = [[len(c.text) / 100 for c in members] for _, members in groups]
    assert [totals(group) for group in scores] == expected
    assert (judge.peak, judge.answered) == (in_flight, 96)


def test_submit_and_poll_do_not_wait_for_an_async_function(tmp_path: Path) -> None:
    go = threading.Event()

    async def grade(problem: Problem, completions: Sequence[Completion]) -> list[float]:
        while not go.is_set():
            await asyncio.sleep(0.01)
        return [0.5] * len(completions)

    with Grader(RewardConfig(use="callable:grade"), ONE, None, grade) as grader:
        for i in range(200):
            grader.submit(i, 0, 1, PROBLEM, Completion("p", str(i)))
        assert grader.poll(0.0) == []
        go.set()
        assert set(collect(grader, 200)) == set(range(200))


def test_closing_drops_the_calls_that_are_on_the_way() -> None:
    ended = threading.Event()

    async def grade(problem: Problem, completions: Sequence[Completion]) -> list[float]:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()
        return []

    with Grader(RewardConfig(use="callable:grade"), ONE, None, grade) as grader:
        grader.submit(0, 0, 1, PROBLEM, Completion("p", "a"))
        assert grader.poll(0.2) == []
    assert ended.wait(10)
    assert not [t for t in threading.enumerate() if t.name == "reward" and t.is_alive()]


RAISES = """
import asyncio

async def grade(problem, completions):
    await asyncio.sleep(0)
    if completions[0].text == "bad":
        raise {error}
    return [0.5]
"""


@pytest.mark.parametrize(
    "error", ["KeyError('no key')", "TimeoutError('of the server')", "SystemExit(3)"]
)
def test_an_async_function_that_raises_stops_with_its_line(error: str, tmp_path: Path) -> None:
    """A time-out of the function's own is no answer that came too late."""
    use = write(tmp_path, RAISES.format(error=error))
    with Grader(RewardConfig(use=use), ONE) as grader:
        with pytest.raises(PawlError, match=rf"raised {error.partition('(')[0]}: ") as caught:
            grader.score([(PROBLEM, texts("fine", "bad", "fine"))])
    assert caught.value.where == f"{tmp_path / 'mine.py'}:7"
    assert caught.value.code == Exit.USER


def test_an_async_function_that_cancels_itself_stops_the_run(tmp_path: Path) -> None:
    use = write(tmp_path, RAISES.format(error="asyncio.CancelledError"))
    with Grader(RewardConfig(use=use), ONE) as grader:
        with pytest.raises(PawlError, match="raised CancelledError") as caught:
            grader.score([(PROBLEM, texts("fine", "bad", "fine"))])
    assert caught.value.where == f"{tmp_path / 'mine.py'}:4"


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_whoever_waits_for_ever_learns_of_an_error(kind: str, tmp_path: Path) -> None:
    use = reward_file(tmp_path, "    import time\n    time.sleep(0.3)\n    return 1 / 0", kind=kind)
    with Grader(RewardConfig(use=use), ONE) as grader:
        grader.submit(0, 0, 1, PROBLEM, Completion("p", "a"))
        with pytest.raises(PawlError, match="ZeroDivisionError") as caught:
            while True:
                grader.poll(None)
    assert caught.value.where == f"{tmp_path / 'mine.py'}:4"


@pytest.mark.parametrize("how", ["waits", "holds up the loop", "is no coroutine"])
def test_a_call_that_hangs_is_told_with_its_problem_and_text(how: str) -> None:
    go = threading.Event()

    def plain(problem: Problem, completions: Sequence[Completion]) -> list[float]:
        if completions[0].text == "hang":
            go.wait(60)
        return [0.5] * len(completions)

    async def waits(problem: Problem, completions: Sequence[Completion]) -> list[float]:
        await asyncio.sleep(3600 if completions[0].text == "hang" else 0)
        return [0.5] * len(completions)

    async def blocks(problem: Problem, completions: Sequence[Completion]) -> list[float]:
        return plain(problem, completions)

    kinds = {"waits": waits, "holds up the loop": blocks, "is no coroutine": plain}
    reward = UserReward("callable:grade", kinds[how], None)
    scorer = FunctionScorer(reward, 2, 0.3, None)
    try:
        for key in ("fine", "hang"):
            scorer.submit(key, PROBLEM, texts(key, "other"))
        words = "hangs: no answer within 0.3 s for problem p, completion 'hang' and 1 more"
        with pytest.raises(PawlError, match=words) as caught:
            while True:
                scorer.poll(0.1)
    finally:
        scorer.close()
        go.set()
    assert caught.value.where == reward.where and caught.value.code == Exit.USER


# ---- callables handed in -------------------------------------------------------------------------


def handed_in(function: Callable[..., object], *words: str) -> list[Score]:
    with Grader(RewardConfig(use="callable:mine"), ONE, None, function) as grader:
        assert grader.worker_pids() == [] and grader.tier == ""
        return grader.score([(PROBLEM, texts(*words))])[0]


def test_a_callable_runs_in_this_process_one_call_after_the_other() -> None:
    seen: list[str] = []
    busy = threading.Lock()

    def grade(problem: Problem, completions: Sequence[Completion]) -> list[float]:
        assert busy.acquire(blocking=False), "two calls at once"
        seen.extend(c.text for c in completions)
        busy.release()
        return [len(c.text) / 10 for c in completions]

    assert totals(handed_in(grade, "a", "bb", "ccc")) == [0.1, 0.2, 0.3]
    assert seen == ["a", "bb", "ccc"]


def test_a_callable_may_be_async_a_lambda_or_an_object() -> None:
    async def later(problem: Problem, completions: Sequence[Completion]) -> list[float]:
        await asyncio.sleep(0)
        return [0.5 for _ in completions]

    class Whole:
        group = True
        scale = (0, 10)

        def __call__(self, problem: Problem, completions: Sequence[Completion]) -> list[float]:
            return [float(len(completions))] * len(completions)

    assert totals(handed_in(later, "a", "b")) == [0.5, 0.5]
    assert totals(handed_in(lambda problem, cs: [1.0] * len(cs), "a", "b")) == [1.0, 1.0]
    assert totals(handed_in(Whole(), "a", "b", "c")) == [3.0, 3.0, 3.0]


def test_what_a_callable_raises_is_told_with_its_line(tmp_path: Path) -> None:
    """From a folder other than the caller's too."""
    use = reward_file(tmp_path, "    x = completions\n    return x.nothing")
    with pytest.raises(PawlError, match="AttributeError") as caught:
        handed_in(load_user_reward(use)._function, "a")
    assert caught.value.where == f"{tmp_path / 'mine.py'}:3"

    def grade(problem: Problem, completions: Sequence[Completion]) -> list[float]:
        raise KeyError("no such thing")

    line = grade.__code__.co_firstlineno + 1
    with pytest.raises(PawlError, match="KeyError: 'no such thing'") as caught:
        handed_in(grade, "a")
    assert caught.value.where == f"{__file__}:{line}"


# ---- functions that compare ----------------------------------------------------------------------

TOURNAMENT = """
import pathlib
HERE = pathlib.Path(__file__).parent

KIND grade(problem, completions):
    with open(HERE / "calls", "a") as f:
        f.write(" ".join(c.text for c in completions) + "\\n")
    return [wins(c, completions) for c in completions]

def wins(one, all):
    others = [c for c in all if c is not one]
    return sum(len(one.text) > len(c.text) for c in others) / max(1, len(others))

grade.group = True
"""


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_function_that_compares_sees_its_whole_group_in_order(kind: str, tmp_path: Path) -> None:
    """Pairwise comparison, a def through worker processes; members come in any order."""
    use = write(tmp_path, TOURNAMENT.replace("KIND", kind))
    words = ["ccc", "a", "eeeee", "bb"]
    with Grader(RewardConfig(use=use), SandboxConfig(workers=2)) as grader:
        assert grader.whole_group
        assert len(grader.worker_pids()) == (2 if kind == "def" else 0)
        for member in (2, 0, 3, 1):
            assert grader.poll(0.0) == []
            grader.submit("g", member, 4, PROBLEM, Completion("p", words[member]))
        rows = collect(grader, 1)["g"]
        assert [row[TOTAL].values[TOTAL] for row in rows] == [2 / 3, 0.0, 1.0, 1 / 3]
    assert (tmp_path / "calls").read_text() == "ccc a eeeee bb\n"


def test_each_group_is_one_call(tmp_path: Path) -> None:
    use = write(tmp_path, TOURNAMENT.replace("KIND", "def"))
    groups = [(PROBLEM, texts(*("x" * (n + m) for m in range(1, 5)))) for n in range(20)]
    with Grader(RewardConfig(use=use), SandboxConfig(workers=2)) as grader:
        scores = grader.score(groups)
    assert [totals(group) for group in scores] == [[0, 1 / 3, 2 / 3, 1]] * 20
    calls = (tmp_path / "calls").read_text().splitlines()
    assert sorted(calls) == sorted(" ".join(c.text for c in cs) for _, cs in groups)


# ---- members that the engine lost ----------------------------------------------------------------


@pytest.mark.parametrize("group", [False, True])
@pytest.mark.parametrize("kind", ["def", "async def"])
@pytest.mark.parametrize("lost", [0, 2])
def test_a_lost_member_is_missing_and_the_others_are_measured(
    group: bool, kind: str, lost: int, tmp_path: Path
) -> None:
    text = TOURNAMENT.replace("KIND", kind).replace("group = True", f"group = {group}")
    with Grader(RewardConfig(use=write(tmp_path, text)), ONE) as grader:
        for member, word in enumerate(["a", "bb", "ccc"]):
            completion = None if member == lost else Completion("p", word)
            grader.submit("g", member, 3, PROBLEM, completion, "the engine failed: out of memory")
        rows = [row[TOTAL] for row in collect(grader, 1)["g"]]
    gone = rows.pop(lost)
    assert (gone.status, gone.values) == ("missing", {})
    assert gone.reason == "the engine failed: out of memory"
    values = [m.values[TOTAL] for m in rows]
    assert values == ([0.0, 1.0] if group else [0.0, 0.0])
    calls = (tmp_path / "calls").read_text().splitlines()
    words = [w for i, w in enumerate(["a", "bb", "ccc"]) if i != lost]
    assert sorted(calls) == ([" ".join(words)] if group else words)


@pytest.mark.parametrize("group", [False, True])
def test_a_group_that_is_lost_as_a_whole_is_missing(group: bool, tmp_path: Path) -> None:
    text = TOURNAMENT.replace("KIND", "def").replace("group = True", f"group = {group}")
    with Grader(RewardConfig(use=write(tmp_path, text)), ONE) as grader:
        for member in range(3):
            grader.submit("g", member, 3, PROBLEM, None, "the engine failed")
        rows = collect(grader, 1)["g"]
    assert [row[TOTAL].reason for row in rows] == ["the engine failed"] * 3
    assert not (tmp_path / "calls").exists()


# ---- all kinds together --------------------------------------------------------------------------


def test_tests_a_worker_and_a_server_measure_one_group(tmp_path: Path) -> None:
    """Components of all kinds; the async one fails for one member, and so does that sample."""
    slow = """
import asyncio

async def grade(problem, completions):
    await asyncio.sleep(0.05)
    return [None if "lost" in c.text else {"tone": 0.5, "total": 1} for c in completions]
"""
    async_use = write(tmp_path, slow, "asks.py")
    group_use = write(tmp_path, TOURNAMENT.replace("KIND", "def"))
    cfg = RewardConfig(
        components=(
            ComponentConfig(name="code", weight=0.5),
            ComponentConfig(name="judge", use=async_use, weight=0.3),
            ComponentConfig(name="longest", use=group_use, weight=0.2),
        )
    )
    words = [RIGHT, RIGHT + "# lost", "def f(x):\n    return x\n"]
    with Grader(cfg, ONE) as grader:
        scores = grader.score([(CODE, texts(*words))])[0]
        assert grader.tier in ("bubblewrap", "landlock") and grader.has_verdicts
    assert [s.status for s in scores] == ["scored", "missing", "scored"]
    assert [s.verdict for s in scores[::2]] == ["pass", "wrong"]
    assert scores[0].total == pytest.approx(0.5 * 0.95 + 0.3 * 1 + 0.2 * 0.5)
    assert scores[0].components["judge_tone"] == 0.5
    with Grader(cfg.model_copy(update={"missing": "group"}), ONE) as grader:
        whole = grader.score([(CODE, texts(*words))])[0]
    assert [s.status for s in whole] == ["missing"] * 3
    assert whole[0].verdict == "pass"


def test_a_module_that_names_no_file_is_no_part_of_a_reward(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As torch.classes does, once torch is loaded and the run starts in the reward's folder."""
    (tmp_path / "mine.py").write_text("def score(problem, completions):\n    return [0.5]\n")
    monkeypatch.chdir(tmp_path)
    before = load_user_reward("mine.py:score").fingerprint()
    odd = types.ModuleType("odd_classes")
    odd.__file__ = "_classes.py"
    monkeypatch.setitem(sys.modules, "odd_classes", odd)
    assert load_user_reward("mine.py:score").fingerprint() == before
