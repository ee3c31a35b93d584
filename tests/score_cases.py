"""What was paid before one function paid everything: which completions, under which rewards.

`completions(source)` gives (problem, completion) in a fixed order, `configs_of(source)` the names
of CONFIGS under which they are paid. `made_up()` adds what a verifier found, without a sandbox, for
endings that no real program gives alike every day. `row` and `Digest` are the form in which
data/score_digest.json holds the scores. Users' numbers are held there without the
verdicts that it made up for them, mixes of them without the first one's function as a second name.
Left out: verifying and paying (test_rewards_digest.py).
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from attack_runner import corpus

import pawl
from pawl.config.options import ComponentConfig, RewardConfig
from pawl.problems.load import open_problems
from pawl.rewards.probes import (
    GARBAGE,
    PROSE,
    bad_probes,
    constant_text,
    end,
    examples_in,
    fence,
    reference_shapes,
    stub,
)
from pawl.types import Case, Close, CodeTask, Completion, Problem, Score

HERE = Path(__file__).resolve().parent
PACKAGE = Path(pawl.__file__).resolve().parent

OCAML_MARK, PYTHON_MARK = "(* END *)", "# END"
MARKS = {"ocaml": OCAML_MARK, "python": PYTHON_MARK}

# ---- rewards -------------------------------------------------------------------------------------

MINE = f"{HERE / 'digest_rewards.py'}"
LOOP = f"{HERE / 'loop_reward.py'}"
FAULTY = HERE / "faulty_rewards"

CONFIGS: dict[str, tuple[RewardConfig, dict[str, float] | None]] = {}
"""name -> (reward, weights of a curriculum's stage or None); the name stands in `reward_stage`."""


def _add(name: str, stage: dict[str, float] | None = None, **fields: Any) -> None:
    assert name not in CONFIGS, name
    if stage is not None:
        stage = {**dict.fromkeys(("end_marker", "types", "compile", "tests"), 0.0), **stage}
    CONFIGS[name] = (RewardConfig.model_validate(fields), stage)


def _three(name: str, stage: dict[str, float] | None = None, **fields: Any) -> None:
    """With OCaml's end marker (the default), without one, and with the one for Python."""
    _add(name, stage, **fields)
    _add(f"{name}, no marker", stage, end_marker="", **fields)
    _add(f"{name}, # END", stage, end_marker=PYTHON_MARK, **fields)


def _part(name: str, use: str = "", **fields: Any) -> ComponentConfig:
    return ComponentConfig.model_validate({"name": name, "use": use or f"{MINE}:{name}", **fields})


def _code(**fields: Any) -> ComponentConfig:
    return _part("code", "code", **fields)


def _shares(*weights: float) -> dict[str, float]:
    names = ("end_marker", "types", "compile", "tests")
    return {n: w / sum(weights) for n, w in zip(names, weights, strict=True)}


FORM = {"types": 0.6, "compile": 0.3, "tests": 0.1}  # as in test_train_curriculum
EVEN, LEANING = _shares(1, 1, 1, 1), _shares(5, 0, 3, 1)
BREVITY = (_code(), _part("brevity", weight=0.05, gate="pass"))  # as in docs/rewards.md
SOMETIMES = (_code(), _part("sometimes", weight=0.2))
TWO_CODES = (_code(weight=0.6), _part("again", "code", weight=0.4, cap=0.3))
USER_FIRST = (_part("lines", weight=0.3), _code())
GATES_ALONE = (_code(weight=0), _part("tokens", gate="pass"))
CAPPED_CODE = (_code(cap=0.5), _part("tokens", weight=0.1))
THREE = (
    _code(weight=0.6),
    _part("lines", weight=0.2),
    _part("brevity", weight=0.2, gate="pass"),
    _part("ended", weight=1, cap=0.05),
)

# the staged reward alone
_three("default")
_three("min_lines 3", min_lines=3)
_add("min_lines 1", min_lines=1)
_add("min_lines 8", min_lines=8)
_add("min_lines 5, short 0", min_lines=5, short_multiplier=0)
_add("min_lines 8, short 1", min_lines=8, short_multiplier=1)
_add("runaway 0", runaway_multiplier=0)
_add("runaway 1", runaway_multiplier=1)
_three("runaway 0.7, short 0.5", runaway_multiplier=0.7, min_lines=4, short_multiplier=0.5)
_add("shaping is not scoring", overlong_penalty=0.5, clip=[-0.5, 0.7], normalise="running")
_three("tests alone", stages=_shares(0, 0, 0, 1))
_add("no tests", stages={"end_marker": 0.2, "types": 0.5, "compile": 0.3, "tests": 0})
_three("marker alone", stages=_shares(1, 0, 0, 0))
_add("types alone", stages=_shares(0, 1, 0, 0))
_three("even", stages=EVEN)
_add("leaning", stages=LEANING, min_lines=1)
# mixes
_add("weighted mix", components=(_code(weight=0.5), _part("half", weight=0.4)))
_add("capped style", components=(_code(), _part("lines", weight=2, cap=0.25)))
_add("cap of zero", components=(_code(), _part("lines", weight=2, cap=0)))
_three("gated bonus", components=(_code(), _part("half", weight=1, gate="pass")))
_add("huge bonus", components=(_code(), _part("full", weight=100, cap=100, gate="pass")))
_add("ungated full", components=(_code(), _part("full", weight=0.5)))
_three("brevity bonus", components=BREVITY)
_add("code at 0.8", components=(_code(weight=0.8), _part("lines")))
_add("code at 2, cap 1.5", components=(_code(weight=2, cap=1.5), _part("half", gate="pass")))
_add("capped code", components=CAPPED_CODE)
_add("gates alone", components=GATES_ALONE)
_add("gated code", components=(_code(gate="pass"), _part("tokens", weight=0.1)))
_add("user first", components=USER_FIRST)
_add("two codes", components=TWO_CODES)
_three("three parts", components=THREE)
_three("missing mix", components=SOMETIMES)
_add("missing, gated", components=(_code(), _part("sometimes", gate="pass")))
_add("missing at weight 0", components=(_code(), _part("sometimes", weight=0)))
_add("named as a stage", components=(_code(), _part("tests", f"{MINE}:lines", weight=0.1)))
_add(
    "mix with penalties",
    components=(_code(), _part("lines", weight=0.1)),
    min_lines=3,
    runaway_multiplier=0.5,
)
_add("mix, even", components=BREVITY, stages=EVEN)
_add("mix, tests alone", components=THREE, stages=_shares(0, 0, 0, 1))
_add("mix of one", components=(_part("reward", "code", weight=0.7),))
# a user's own alone
_add("user lines", use=f"{MINE}:lines")
_add("user ended", use=f"{MINE}:ended")
_add("user full", use=f"{MINE}:full")
_add("user sometimes", use=f"{MINE}:sometimes")
_add("users alone", components=(_part("lines", weight=0.5), _part("tokens", weight=0.5)))
_add("users alone, missing", components=(_part("tokens"), _part("sometimes", weight=0.5)))
# stages of a curriculum
_three("stage form", FORM)
_add("stage half", {"compile": 0.5, "tests": 0.5})
_add("stage tests", {"tests": 1.0})
_three("stage marker", {"end_marker": 0.4, "tests": 0.6})
_add("stage form, min_lines 3", FORM, min_lines=3)
_add("stage form, runaway 0", FORM, runaway_multiplier=0)
_add("stage leaning to other", _shares(0, 5, 2, 9), stages=LEANING, min_lines=1)
_add("stage form, from even", FORM, stages=EVEN)
_three("stage form, brevity bonus", FORM, components=BREVITY)
_add("stage form, three parts", FORM, components=THREE)
_add("stage form, missing mix", FORM, components=SOMETIMES)
_add("stage form, two codes", FORM, components=TWO_CODES)
_add("stage form, user first", FORM, components=USER_FIRST)
_add("stage form, gates alone", FORM, components=GATES_ALONE)
_add("stage form, capped code", FORM, components=CAPPED_CODE)
_add("stage tests, three parts", {"tests": 1.0}, components=THREE, min_lines=3)
# the loop's own test rewards read a problem's reference
_add("loop score", use=f"{LOOP}:score")
_add("loop rare", use=f"{LOOP}:rare")
_add("loop potential", use=f"{LOOP}:potential")
_add("loop nothing", use=f"{LOOP}:nothing")
_add("loop chance", use=f"{LOOP}:chance")
_add(
    "loop mix",  # as in test_train_notices
    components=(
        _part("crumbs", f"{LOOP}:score"),
        _part("potential", f"{LOOP}:potential", weight=1e-7),
    ),
)
_add("loop bonus", components=(_code(), _part("right", f"{LOOP}:nothing", gate="pass")))
_add("stage form, loop mix", FORM, components=(_code(), _part("loop", f"{LOOP}:score")))
# the faulty rewards compile and run what they are given, outside any sandbox
_add("faulty exit_code", use=f"{FAULTY / 'exit_code.py'}:grade")
_add("faulty long_answers_only", use=f"{FAULTY / 'long_answers_only.py'}:grade")
_add("faulty syntax_as_types", use=f"{FAULTY / 'syntax_as_types.py'}:grade")
_add(
    "faulty mix",
    components=(_code(), _part("exits", f"{FAULTY / 'exit_code.py'}:grade", weight=0.5)),
)

CORE = ("default", "min_lines 3", "brevity bonus", "missing mix", "three parts", "stage form")
"""Under these the probes are paid; references and a few problems' probes under each config."""

# ---- sources -------------------------------------------------------------------------------------

PROBES = {f"starter-{lang} probes": lang for lang in MARKS}
REFERENCES_EACH = {f"starter-{lang} references, each config": lang for lang in MARKS}
PROBES_EACH = {f"starter-{lang} probes, each config": lang for lang in MARKS}
ATTACKS = {f"attacks {lang}": lang for lang in MARKS}
PARTIAL = {f"partial {lang}": lang for lang in MARKS}
GARBAGE_TEXTS = {f"garbage {lang}": lang for lang in MARKS}
FAULTY_SOURCE, MADE_UP = "faulty rewards", "made up"
SOURCES = (
    *REFERENCES_EACH, *PROBES, *PROBES_EACH, *ATTACKS, *PARTIAL, *GARBAGE_TEXTS,
    FAULTY_SOURCE, MADE_UP,
)  # fmt: skip

# Attacks whose verification is no function of the program alone, or need not be on a slower or
# busier machine: all whose verdict is a time-out, a memory limit or a fault of the machine (not in
# `cache.DETERMINISTIC`), all that took more than 0.6 s under their limit of 1 s of CPU time, and
# all that differed between runs in one tier (four were compared in each). By `ident`. How such
# endings are paid is covered by the source "made up".
UNSTEADY = frozenset({
    "squares-python/6e9abdc52df99d76",
    "squares-python/72396fb1700677b3",
    "squares-python/49c45285b4e6b476",
    "squares-python/e079dccaf1f62ac2",
    "squares-python/bc611d229e2a6832",
    "squares-ocaml/92a5f20716438f0b",
    "squares-ocaml/db3cc521311719ba",
    "squares-ocaml/0a3adc7b02c940d0",
    "squares-ocaml/1077e0e07cc0f51f",
    "squares-ocaml/2d6e73401c188688",
    "squares-ocaml/cf0e2e2edba93236",
    "squares-ocaml/83f1bfa22c8e1375",
    "squares-ocaml/b0347472fd0d283b",
    "squares-ocaml/0d63f1e1c0aa1130",
    "squares-ocaml/1de191b2dc6bb81e",
    "squares-ocaml/4144a12d5f6b136e",
    "squares-ocaml/bd6b83e7290a21ae",
    "squares-ocaml/793d024df7d52f67",
    "squares-ocaml/b98cf525724d8d92",
    "squares-python/6aa1238401392d46",
    "squares-python/3c09ac58e152be27",
    "squares-python/9b8b178cf9ca6bf6",
    "squares-python/4b965dabdeafccad",
    "squares-python/f58f7d167c87ade5",
    "squares-python/c4ed587de0e49783",
    "squares-python/62d758a134e58b07",
    "squares-python/77db0140c4cfdb90",
    "squares-python/0df4d193166872d8",
    "squares-python/e95281c027619ecb",
    "squares-python/e7fdc4fe76225b2c",
    "squares-python/4f7b7e60b67aae5b",
    "squares-python/a800433c3013d4bc",
    "squares-python/d3569bfa7990b3eb",
    "squares-python/888ca48327c17c9b",
    "squares-python/4577a22a28ff44df",
    "squares-python/45b477c59f00a793",
    "squares-python/52fd83ef2bd60917",
    "squares-python/d4274adadfaf3da0",
    "squares-python/cb48c8a96204b4e1",
})  # fmt: skip


def configs_of(source: str) -> list[str]:
    """Names of the configs that pay a source, in the order of CONFIGS."""
    lang = PROBES.get(source)
    if lang:
        own = {"ocaml": "", "python": f", {PYTHON_MARK}"}[lang]
        return [f"{name}{own}" for name in CORE]
    faulty = {name for name in CONFIGS if name.startswith("faulty")}
    if source == FAULTY_SOURCE:
        return ["default", *(name for name in CONFIGS if name in faulty)]
    reads_reference = {name for name in CONFIGS if "loop" in name}
    left_out = faulty | (reads_reference if source in ATTACKS else set())
    return [name for name in CONFIGS if name not in left_out]


def completions(source: str, unsteady: bool = False) -> Iterator[tuple[Problem, Completion]]:
    """What a source asks to pay, in a fixed order; unsteady: with what UNSTEADY leaves out."""
    for problem, text, finish in _texts(source):
        if unsteady or ident(problem, text) not in UNSTEADY:
            n_tokens = _n_tokens(text, finish)
            yield problem, Completion(problem.id, text, n_tokens, finish)


def sha(text: str) -> str:
    """The text's name in rows and ids."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def ident(problem: Problem, text: str) -> str:
    """What UNSTEADY names."""
    return f"{problem.id}/{sha(text)}"


def _n_tokens(text: str, finish: str) -> int:
    """Any count, fixed by the text: 0, small, plausible, at a limit."""
    if finish == "length":
        return (512, 64, 16384)[len(text) % 3]
    return (max(1, len(text) // 3), len(text) // 2, 0, 511)[len(text) % 4]


Row = tuple[Problem, str, str]  # problem, text, finish


def _texts(source: str) -> Iterator[Row]:
    if source in REFERENCES_EACH:
        yield from _references_each(REFERENCES_EACH[source])
    elif source in PROBES:
        yield from _probes(PROBES[source], 12)
    elif source in PROBES_EACH:
        yield from _probes(PROBES_EACH[source], 36)
    elif source in ATTACKS:
        yield from _attacks(ATTACKS[source])
    elif source in PARTIAL:
        yield from _partial(PARTIAL[source])
    elif source in GARBAGE_TEXTS:
        yield from _garbage(GARBAGE_TEXTS[source])
    elif source == FAULTY_SOURCE:
        yield from _for_faulty()
    elif source == MADE_UP:
        for problem, completion, _ in made_up():
            yield problem, completion.text, completion.finish
    else:
        raise KeyError(source)


def _references_each(lang: str) -> Iterator[Row]:
    """Every 16th problem: each shape with and without the end marker, finished and cut."""
    for problem in open_problems(f"starter-{lang}")[::16]:
        for _, text in reference_shapes(problem):
            for said in (text, end(text, MARKS[lang])):
                yield problem, said, "stop"
                yield problem, said, "length"


def _probes(lang: str, step: int) -> Iterator[Row]:
    """Known-bad answers for every step-th problem, in turns with the end marker, and examples."""
    for i, problem in enumerate(open_problems(f"starter-{lang}")[::step]):
        for k, probe in enumerate(bad_probes(problem, constant_text(problem))):
            marked = (i + k) % 2 and probe.text.strip()
            text = end(probe.text, MARKS[lang]) if marked else probe.text
            yield problem, text, "stop"
            if (i + k) % 5 == 0:
                yield problem, text, "length"
    template = (PACKAGE / "models" / "prompts" / f"few-shot-{lang}.txt").read_text("utf-8")
    examples = examples_in(template, lang, MARKS[lang])
    for problem, text in examples:
        problem = replace(problem, id=f"{problem.id} ({lang})")
        yield problem, text, "stop"
        yield problem, end(text.replace(MARKS[lang], ""), MARKS[lang]), "length"


def _attacks(lang: str) -> Iterator[Row]:
    """The corpus and its controls: as they are, cut, and with the end marker."""
    for _, problem, text in corpus():
        if problem.lang == lang:
            yield problem, text, "stop"
            yield problem, text, "length"
            yield problem, end(text, MARKS[lang]), "stop"


def attack_name(lang: str, index: int) -> str:
    """File of the `index`-th row of an attack source, unsteady ones included."""
    return [name for name, problem, _ in corpus() if problem.lang == lang][index // 3]


def _shown(problem: Problem, n: int) -> Problem:
    """The same problem with the first n cases shown by its prompt."""
    if not n:
        return problem
    cases = tuple(replace(case, shown=i < n) for i, case in enumerate(problem.task.cases))
    code = replace(problem.task, cases=cases)
    return replace(problem, id=f"{problem.id}+{n}shown", code=code)


def _some(lang: str, n: int) -> list[Problem]:
    """n problems spread over a starter set, the last one included."""
    opened = open_problems(f"starter-{lang}")
    return [opened[len(opened) - 1 - i * (len(opened) // n)] for i in range(n)]


def _partial(lang: str) -> Iterator[Row]:
    """Answers that pass some of the tests or fail in graded ways, some tests shown."""
    make = _partial_ocaml if lang == "ocaml" else _partial_python
    for i, given in enumerate(_some(lang, 24)):
        problem = _shown(given, (0, 2, 6, 8)[i % 4])
        for k, text in enumerate(make(given)):
            yield problem, text, "length" if (i + k) % 6 == 5 else "stop"
            if (i + k) % 3 == 0:
                yield problem, end(text, MARKS[lang]), "stop"


def _partial_ocaml(problem: Problem) -> Iterator[str]:
    whole, name = problem.reference.rstrip() + "\n", problem.task.entry_point
    names = " ".join(re.findall(r"\((\w+) :", problem.task.head))
    constant = constant_text(problem)
    before = f"{whole}let pawl_right = {name}\nlet pawl_n = ref 0\n"
    for k in (1, 3, 5, 7):
        rest = f"if !pawl_n <= {k} then pawl_right {names} else ({constant})"
        yield f"{before}{problem.task.head}\n  incr pawl_n; {rest}\n"
    for test in ("!pawl_n mod 2 = 0", "!pawl_n > 2", "!pawl_n <> 8"):
        rest = f'if {test} then pawl_right {names} else failwith "no"'
        yield f"{before}{problem.task.head}\n  incr pawl_n; {rest}\n"
    for errors in (1, 2, 5):
        yield whole + "".join(f'let _e{j} : int = "a"\n' for j in range(errors))
    yield f"{whole}let let\n"
    yield whole.replace(f" {name} ", f" {name}_other ")
    yield f"let {name} = 3\n"
    yield f"let {name} = Obj.magic 0\n"


def _partial_python(problem: Problem) -> Iterator[str]:
    whole, name = problem.reference.rstrip() + "\n", problem.task.entry_point
    before = f"{whole}pawl_right, pawl_n = {name}, [0]\n"
    head = f"def {name}(*args):\n    pawl_n[0] += 1\n"
    for k in (1, 3, 5, 7):
        rest = f"pawl_right(*args) if pawl_n[0] <= {k} else {constant_text(problem)}"
        yield f"{before}{head}    return {rest}\n"
    for test in ("pawl_n[0] % 2 == 0", "pawl_n[0] > 2", "pawl_n[0] != 8"):
        yield f"{before}{head}    return pawl_right(*args) if {test} else 1 // 0\n"
    yield f"{before}{head}    return pawl_right(*args) if pawl_n[0] < 5 else object()\n"
    yield f"{whole}def def\n"
    yield whole.replace(f"{name}(", f"{name}_other(")
    yield f"{name} = 3\n"
    yield f"{whole}1 // 0\n"
    yield f"{whole}raise SystemExit(0)\n"


def _garbage(lang: str) -> Iterator[Row]:
    """Text that is no answer, or an answer in odd clothes."""
    mark, foreign = MARKS[lang], "python" if lang == "ocaml" else "ocaml"
    others = _some(foreign, 12)
    for i, problem in enumerate(_some(lang, 12)):
        for k, text in enumerate(_odd_texts(problem, others[i], mark)):
            yield problem, text, "stop"
            if (i + k) % 3 == 0:
                yield problem, text, "length"


def _odd_texts(problem: Problem, other: Problem, mark: str) -> Iterator[str]:
    right, lang = problem.reference.rstrip(), problem.lang
    fenced = fence(lang, right)
    say = "(* {} *)" if lang == "ocaml" else "# {}"
    name = f"let _pawl = {json.dumps(mark)}" if lang == "ocaml" else f"_pawl = {mark!r}"
    yield ""
    yield " "
    yield "\n\n\t\n"
    yield PROSE
    yield end(PROSE, mark)
    yield end(GARBAGE, mark)
    yield mark
    yield f"{mark}\n" * 5
    yield f"```{lang}\n{right}\n"  # a fence that never closes
    yield f"```\n{right}"
    yield f"{right}\n```"
    yield f"{fenced}\nThis works because it is right."
    yield f"Here is the function:\n\n{fenced}\n"
    yield f"First try:\n{fence(lang, stub(problem))}\nThen:\n{fenced}\n{mark}\n"
    yield f"{fence(lang, right + chr(10) + mark)}\n"
    yield f"{right}\n{mark}  \n\n"
    yield f"{right}\n{mark}\n)) then anything )) at all {{{{\n"
    yield f"{right}\n{mark}\n{right}\n{mark}\n"
    yield f"{mark}\n{right}\n"
    yield f"{name}\n{right}\n{mark}\n"
    yield f"{right} {mark}"
    yield other.reference
    yield fence(other.lang, other.reference)
    yield f"\x00{right}\n"
    yield f"{right}\n{say.format('x' * 100_001)}\n"
    yield right.replace("\n", "\r\n") + "\r\n"
    yield say.format("a\u2028b\x0bc\x85d") + f"\n{right}\n"
    yield say.format("n\u00e9e, \u95a2\u6570, \u2200") + f"\n{right}\n{mark}\n"
    yield f"\n\n\n{right}\n\n\n"
    yield right[: len(right) // 2]


def _for_faulty() -> Iterator[Row]:
    """Harmless programs alone: they run outside the sandbox."""
    problems = _some("ocaml", 3)
    for i, problem in enumerate(problems):
        texts = [probe.text for probe in bad_probes(problem, constant_text(problem))]
        texts += [text for _, text in reference_shapes(problem)]
        for k, text in enumerate(texts):
            marked = (i + k) % 2 and text.strip()
            yield problem, end(text, OCAML_MARK) if marked else text, "stop"


def made_up() -> Iterator[tuple[Problem, Completion, dict[str, Any]]]:
    """(problem, completion, what was found) without a program: every verdict and odd set of cases.

    What was found: verdict, passed, types, compiled, syntax_error, type_errors, message.
    """
    rng = random.Random("made up")
    for i in range(600):
        lang = ("ocaml", "python")[i % 2]
        answers = rng.choice(
            {
                "ocaml": (["0", "1", "2", "true"], ["[1; 2]", "[1;  2]", "[]"], ["7"]),
                "python": (["0", "1", "True", "'a'"], ["1.0", "1.0000001", "2.5"], ["[7]"]),
            }[lang]
        )
        close = Close() if answers[0] == "1.0" else None
        n, share = rng.randrange(1, 13), rng.choice((0.0, 0.0, 0.3, 1.0))
        cases = tuple(
            Case(f"solve {k}" if lang == "ocaml" else f"[{k}]", rng.choice(answers),
                 rng.random() < share, close)
            for k in range(n)
        )  # fmt: skip
        task = CodeTask(lang, "solve", cases)
        problem = Problem(f"made-up-{i}", "Solve.", task, reference="x\ny")
        text = rng.choice(("", "return x", "a\n\nb\nc\nd", "```\na\n", "x\ny", "1 \u00e9"))
        text += rng.choice(("", f"\n{OCAML_MARK}", f"\n{PYTHON_MARK}\n", f"\n{OCAML_MARK}\nmore"))
        finish = rng.choice(("stop", "stop", "length"))
        completion = Completion(problem.id, text, _n_tokens(text, finish), finish)
        yield problem, completion, _found(rng, n)


def _found(rng: random.Random, n: int) -> dict[str, Any]:
    """A verification's fields, as a verifier could give them for n cases."""
    kind = rng.choice(
        ("pass", "pass", "wrong", "wrong", "wrong", "exception", "timeout", "memory", "output",
         "unserialisable", "compile", "compile", "rejected", "infra_error")
    )  # fmt: skip
    found: dict[str, Any] = {"verdict": kind, "passed": (False,) * n, "message": "made up"}
    if kind in ("rejected", "infra_error"):
        return found
    if kind == "compile":
        errors = rng.randrange(0, 5)
        if not errors:
            return found | {"syntax_error": True}
        return found | {"types": 1 / (1 + errors), "type_errors": errors}
    passed = [kind == "pass" or rng.random() < 0.6 for _ in range(n)]
    if kind != "pass" and all(passed):
        passed[rng.randrange(n)] = False
    if kind == "exception" and rng.random() < 0.3:  # raised at loading
        return found | {"types": 0.5, "compiled": True}
    return found | {"passed": tuple(passed), "types": 1.0, "compiled": True, "type_errors": 0}


# ---- the record's form ---------------------------------------------------------------------------


def effective_marker(text: str, end_marker: str) -> str:
    """The marker as far as a verification knows it: one that is not in the text changes nothing."""
    return end_marker if end_marker and end_marker in text else ""


def row(problem: Problem, completion: Completion, score: Score) -> list[Any]:
    """One payment; floats as they are."""
    return [
        problem.id,
        sha(completion.text),
        completion.n_tokens,
        completion.finish,
        score.status,
        None if score.total is None else float(score.total),
        score.verdict,
        score.branch,
        {name: float(value) for name, value in score.components.items()},
        score.passed_cases,
        score.n_cases,
        score.reward_stage,
    ]


def line(values: list[Any]) -> str:
    """A row as canonical JSON."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"))


class Digest:
    """Rows of one tier, source and config, in order."""

    def __init__(self) -> None:
        self._hash, self._n, self._totals = hashlib.sha256(), 0, list[float]()

    def add(self, values: list[Any]) -> None:
        """Take one row; numbers count to 9 decimals, so that an order of summing does not show."""
        total, parts = values[5], values[8]
        values = list(values)
        values[5] = None if total is None else round(total, 9)
        values[8] = {name: round(value, 9) for name, value in parts.items()}
        self._n += 1
        self._totals += [] if total is None else [values[5]]
        self._hash.update(f"{line(values)}\n".encode())

    def text(self) -> str:
        """Number of rows, sum of the totals, hash."""
        total = round(math.fsum(self._totals), 6)
        return f"{self._n} {total:g} {self._hash.hexdigest()[:16]}"
