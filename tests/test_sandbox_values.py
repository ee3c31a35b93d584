"""Whatever comes over the channel is a typed verdict: no error, no long time, no much memory."""

from __future__ import annotations

import random
import resource
import time
from typing import get_args

import pytest
from channel_messages import VALUES, colliding, judged, message
from hypothesis import given, settings
from hypothesis import strategies as st

from pawl.sandbox import driver, values
from pawl.sandbox.values import NotAValue, decode, equal, same, stands
from pawl.types import Close, Verdict

LANGS = ("python", "ocaml")


@pytest.mark.parametrize("lang", LANGS)
def test_any_message_is_a_typed_verdict(lang: str) -> None:
    found = set()
    for seed in range(400):
        rng = random.Random(seed)
        verdict = judged(rng, lang, message(rng, lang)).verdict
        assert verdict in get_args(Verdict)
        found.add(verdict)
    assert found >= {"wrong", "exception", "unserialisable", "memory", "compile"}


@pytest.mark.parametrize("lang", LANGS)
@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=300), seed=st.integers(0, 1000))
def test_any_bytes_are_a_typed_verdict(lang: str, data: bytes, seed: int) -> None:
    for head in (b"", b"H\nV 0\nL\nR 0 ", b"H\nC 2\nM ", b"H\nB\nR 0 "):
        assert judged(random.Random(seed), lang, head + data + b"\n").verdict in get_args(Verdict)


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_what_the_driver_writes_is_read_back(value: object) -> None:
    text = driver.form(value, 0, [10_000])
    back = decode(text)
    assert type(back) is type(value) and repr(back) == repr(value)
    assert same(text, value, close=None) is (back == value)


@pytest.mark.parametrize(
    "text",
    [
        '{"t":1}', '{"s":[[]]}', '{"d":[[1]]}', '{"d":{"t":[]}}', '{"c":["1","2"]}', '{"c":[1.5]}',
        '{"r":[1,2]}', '{"r":[1,2,0]}', '{"r":[1.5,2,1]}', '{"b":"0"}', '{"b":" 00"}', '{"z":"ab"}',
        '{"Fraction":[1,0]}', '{"Fraction":["1",2]}', '{"Decimal":1}', '{"Decimal":"1_0"}',
        '{"time":"99:99"}', '{"time":1}', '{"date":["2026"]}', '{"timedelta":[1e99,0,0]}',
        '{"timedelta":[99999999999,0,0]}', '{"Counter":[[[],1]]}', '{"object":1}', "{}",
        '{"t":[],"s":[]}', "[" * 100_000, "1" * 5000, "", "nul", '"',
    ],
)  # fmt: skip
def test_content_of_another_type_is_no_value(text: str) -> None:
    with pytest.raises(NotAValue):
        decode(text)
    assert same(text, 0, close=Close()) is None


@pytest.mark.parametrize(("got", "near"), [(10**400, False), (-(10**400), False), (2, False)])
def test_numbers_beyond_any_float_are_compared(got: int, near: bool) -> None:
    for expected in (1.5, float("inf"), 10**401, 0):
        assert equal(got, expected, close=Close()) is near
    assert equal(got, got, close=Close()) and equal([10**400], [10**400], close=Close())


def test_members_of_one_hash_are_no_value() -> None:
    """A set of them is built in quadratic time."""
    assert decode(colliding(50).removeprefix("R 0 ")) == {
        1 + i * ((1 << 61) - 1) for i in range(50)
    }
    for text in (colliding(30_000).removeprefix("R 0 "), f'{{"z":{[0] * 100}}}'):
        assert same(text, {1}, close=None) is None


@pytest.mark.parametrize("excess", ["memory", "time"])
def test_a_long_text_is_read_within_limits(excess: str, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = list(range(50_000))
    text = driver.form(numbers, 0, [100_000])
    before = resource.getrlimit(resource.RLIMIT_AS)
    assert same(text, numbers, close=None) is True

    def greedy(got: object, expected: object, close: object) -> bool:
        if excess == "memory":
            return len(bytearray(2 * values.MEMORY)) > 0
        end = time.process_time() + 10
        while time.process_time() < end:
            pass
        return True

    monkeypatch.setattr(values, "equal", greedy)
    monkeypatch.setattr(values, "CPU_S", 0.05)
    assert same(text, numbers, close=None) is None
    assert resource.getrlimit(resource.RLIMIT_AS) == before


@pytest.mark.parametrize(
    ("got", "compare", "want", "holds"),
    [
        (b"xaby", "contains", b"ab", True), (b"xaby", "contains", 97, True),
        (b"xaby", "lacks", b"ab", False), (range(10**12), "contains", 3.0, True),
        (range(10**12), "contains", 0.5, False), (5, "contains", 5, False), (5, "lacks", 5, False),
        ("a", "in", "cab", True), (b"a", "in", b"cab", True), (1, "in", "1", False),
        ((1, 2), "json", [1, 2], True), ({1: (2,)}, "json", {"1": [2]}, True),
        (None, "<", 3, False), (2, "<", 3, True), (2, "!=", 2, False),
    ],
)  # fmt: skip
def test_comparisons(got: object, compare: str, want: object, holds: bool) -> None:
    assert stands(got, want, None, compare) is holds
