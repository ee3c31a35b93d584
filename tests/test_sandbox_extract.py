"""The right program is read from a completion as models write it, whatever stands around it.

Left out: forms of a single program (test_sandbox_verify.py).
"""

from __future__ import annotations

import shutil

import pytest
from attack_runner import OCAML_TASK, PYTHON_TASK
from hypothesis import given, settings
from hypothesis import strategies as st

from pawl.sandbox.extract import MAX_READINGS, ends_with, final_answer, programs_in
from pawl.sandbox.tiers import Sandbox
from pawl.sandbox.verify import verify
from pawl.types import Case, CodeTask

RIGHT = {
    "python": "def solve(xs):\n    return sum(x * x for x in xs if x % 2 == 0)\n",
    "ocaml": "let solve (xs : int list) : int =\n"
    "  List.fold_left (fun a x -> if x mod 2 = 0 then a + x * x else a) 0 xs\n",
}
DRAFT = {
    "python": "def solve(xs):\n    return 0\n",
    "ocaml": "let solve (xs : int list) : int = 0\n",
}
HELPED = {
    "python": (
        "import math\nfrom functools import reduce\n",
        "def solve(xs):\n    start = math.floor(0.5)\n"
        "    return reduce(lambda a, x: a + x * x * (x % 2 == 0), xs, start)\n",
    ),
    "ocaml": ("let even x = x mod 2 = 0\n", RIGHT["ocaml"].replace("x mod 2 = 0", "even x")),
}
USE = {"python": "print(solve([1, 2]))\n", "ocaml": "let () = print_int (solve [1; 2])\n"}
TASKS = {"python": PYTHON_TASK, "ocaml": OCAML_TASK}
OTHER = [
    "```text\nadd the squares\n```\n", "```sh\nmake test\n```\n", "```\n4\n```\n", "```\nx\n```\n",
    "```json\n{\"a\": 1}\n```\n", "~~~dune\n(executable (name main))\n~~~\n", "```\nsolve 3\n```\n",
    "```ocaml\nint list -> int\n```\n", "```python\n>>> solve([1])\n0\n```\n",
]  # fmt: skip
ENDS = ["", "<|im_end|>", "\n</s>", "<|eot_id|>\n", "<|im_end|>\n<|endoftext|>", "<end_of_turn>"]
LABELS = {
    "python": ["python", "py", "Python3", " python", "{.python}", ""],
    "ocaml": ["ocaml", "ml", "OCaml", ""],
}
needs_ocaml = pytest.mark.skipif(shutil.which("ocamlc") is None, reason="no OCaml here")
BOTH = ["python", pytest.param("ocaml", marks=needs_ocaml)]


def fenced(code: str, label: str = "", fence: str = "```", indent: str = "") -> str:
    lines = "".join(f"{indent}{line}\n" for line in code.splitlines())
    return f"{indent}{fence}{label}\n{lines}{indent}{fence}\n"


@st.composite
def completions(draw: st.DrawFn, lang: str) -> str:
    """A right answer among what surrounds one: thinking, drafts, other blocks, tags, end tokens."""
    label = st.sampled_from(LABELS[lang])
    fence = draw(st.sampled_from(["```", "````", "~~~", "~~~~~"]))
    indent = draw(st.sampled_from(["", "  ", "   "]))
    parts = []
    if draw(st.booleans()):
        tag = draw(st.sampled_from(["think", "thinking", "reasoning"]))
        opened = f"<{tag}>\n" if draw(st.booleans()) else ""  # else it stands in the prompt
        parts.append(f"{opened}First:\n{fenced(RIGHT[lang], lang)}No, that is\n</{tag}>\n")
    answer = []
    for other in draw(st.lists(st.sampled_from(OTHER), max_size=3)):
        answer.append(f"Note:\n{other}")
    if draw(st.booleans()):
        answer.append("A first draft:\n" + fenced(DRAFT[lang], draw(label)))
    if draw(st.booleans()):
        before, code = HELPED[lang]
        answer += [
            "We need\n" + fenced(before, draw(label)),
            fenced(code, draw(label), fence, indent),
        ]
    else:
        answer.append("So:\n\n" + fenced(RIGHT[lang], draw(label), fence, indent))
    if draw(st.booleans()):
        answer.append("Use it:\n" + fenced(USE[lang], draw(label)))
    for other in draw(st.lists(st.sampled_from(OTHER), max_size=2)):
        answer.append(f"This prints\n{other}")
    text = "\n".join(answer)
    if draw(st.booleans()):
        text = f"My answer:\n<answer>\n{text}\n</answer>\n"
    text = "".join(parts) + text + draw(st.sampled_from(ENDS))
    return text.replace("\n", "\r\n") if draw(st.booleans()) else text


@pytest.mark.parametrize("lang", BOTH)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_right_answer_passes_whatever_surrounds_it(
    lang: str, data: st.DataObject, sandbox: Sandbox
) -> None:
    text = data.draw(completions(lang))
    found = verify(sandbox, TASKS[lang], text)
    assert found.verdict == "pass", (found.message, found.reading)
    assert found.reading.startswith("block ")


WRONG_AT_LAST = {
    "a wrong answer after a right draft": lambda right, draft: (
        f"<think>\n{fenced(right)}</think>\n{fenced(draft)}"
    ),
    "a draft in the thinking alone": lambda right, draft: (
        f"<think>\n{fenced(right)}</think>\nDone."
    ),
    "thinking without an end": lambda right, draft: f"<think>\nI try\n{fenced(right)}",
    "thinking that began in the prompt": lambda right, draft: (
        f"{fenced(right)}</think>\n{fenced(draft)}"
    ),
    "thinking that opens within a line": lambda right, draft: (
        f"Sure! <think> I try\n{fenced(right)}"
    ),
    "thinking with an attribute": lambda right, draft: (
        f'<think type="deep">\n{fenced(right)}</think>\n{fenced(draft)}'
    ),
    "a right block and then a wrong one": lambda right, draft: (
        f"{fenced(right)}Or better:\n{fenced(draft)}"
    ),
    "a wrong answer in its tag": lambda right, draft: (
        f"{fenced(right)}<answer>{fenced(draft)}</answer>"
    ),
}


@pytest.mark.parametrize("lang", BOTH)
@pytest.mark.parametrize("kind", WRONG_AT_LAST)
def test_only_the_final_answer_is_graded(kind: str, lang: str, sandbox: Sandbox) -> None:
    text = WRONG_AT_LAST[kind](RIGHT[lang], DRAFT[lang])
    assert verify(sandbox, TASKS[lang], text).verdict in ("wrong", "compile", "exception")


@pytest.mark.parametrize("lang", BOTH)
def test_many_blocks_lose_no_program(lang: str, sandbox: Sandbox) -> None:
    outputs = "".join(f"Output:\n```\n{i}\n```\n" for i in range(60))
    for text in (outputs + fenced(RIGHT[lang], lang), fenced(RIGHT[lang], lang) + outputs):
        assert verify(sandbox, TASKS[lang], text).verdict == "pass"
        assert len(programs_in(text, TASKS[lang].head, "", "solve", lang)) <= MAX_READINGS


def test_a_program_that_holds_fences_and_tags_is_whole(sandbox: Sandbox) -> None:
    text = (
        'def solve(xs):\n    """\n```\nx\n```\n    <answer> </answer>\n    """\n'
        + RIGHT["python"][14:]
    )
    found = verify(sandbox, PYTHON_TASK, text)
    assert (found.verdict, found.reading) == ("pass", "the text")


def test_final_answers() -> None:
    assert final_answer("a<think>b</think>c<|im_end|>\n") == "c"
    assert final_answer("<think>b") == "" and final_answer("x\n  <think>\nb") == "x\n"
    assert final_answer("<answer> </answer>a") == "<answer> </answer>a"
    assert final_answer("<answer>b</answer> or <answer>c") == "c"
    assert final_answer("if a <think> b") == "if a <think> b"
    assert ends_with("x # END<|im_end|>", "# END") and not ends_with("# END x", "# END")


@given(st.text(alphabet="`~ \n\tab<>/think|answer", max_size=200))
def test_any_text_has_few_readings(text: str) -> None:
    for lang in ("python", "ocaml"):
        found = programs_in(text, TASKS[lang].head, "", "solve", lang)
        assert len(found) <= MAX_READINGS and len({r.source for r in found}) == len(found)


TAGS_IN_CODE = [
    "def f(s):\n    return s.split('</think>')[-1]",
    'def f(s):\n    return re.sub(r"<think>.*?</think>", "", s)',
    "def f(s):\n    return re.search(r'<answer>(.*?)</answer>', s)",
    'def f(s):\n    """Cut\n    <think> sections\n    """\n    return s',
    "def f(s):  # strips <think> tags\n    return s",
    "def f(s):\n    return s.replace('<|im_end|>', '')",
]
AROUND = ["{}", "```python\n{}\n```", "<think>\nhm\n</think>\n```python\n{}\n```\n",
          "<answer>\n```python\n{}\n```\n</answer>", "[PYTHON]\n{}\n[/PYTHON]",
          "```python\n{}\n```\nThe `</think>` tag above ended my reasoning."]  # fmt: skip


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("code", TAGS_IN_CODE)
def test_a_tag_in_the_code_is_no_tag(code: str, around: str) -> None:
    """Neither thinking nor an answer begins or ends in a string, a comment or a docstring."""
    found = programs_in(around.format(code), "", "", "f", "python")
    assert code in [reading.source.strip() for reading in found]


def test_a_fence_deep_inside_a_block_does_not_end_it() -> None:
    code = 'def f(s):\n    """Do.\n\n    ```\n    f(1)\n    ```\n    """\n    return s'
    found = programs_in(f"```python\n{code}\n```\n", "", "", "f", "python")
    assert code in [reading.source.strip() for reading in found]


def test_what_follows_the_end_of_the_turn_is_not_the_answer() -> None:
    said = final_answer("let f x = x<|eot_id|><|start_header_id|>user<|end_header_id|>\nlet f")
    assert said == "let f x = x"


def test_a_helper_or_a_constant_may_stand_in_another_block(sandbox: Sandbox) -> None:
    task = CodeTask("python", "f", (Case("[3]", "7"), Case("[0]", "1")))
    main = fenced("def f(x):\n    return double(x) % MOD + ONE.a", "python")
    helper = fenced("def double(x):\n    return 2 * x", "python")
    constant = fenced(
        "MOD = int(1e9 + 7)\nclass ONE:\n    a = 1\nprint(f(3))\nx = input()", "python"
    )
    for blocks in ((constant, helper, main), (helper, constant, main), (constant, main, helper)):
        found = verify(sandbox, task, "\n".join(blocks))
        assert found.verdict == "pass", (found, blocks)


BESIDE = [
    '<think>So we print "no"</think>\n{}',
    "<think>I use '</think>' not `sorted`</think>\n{}",
    "<think>and/or/</think>\n{}",
    'So we print "no"</think>\n{}',
    "{}\nTags: [Python] [Arrays]",
    "{}\nThis <solution> is linear.",
    "I will give <answer>code</answer>.\n{}",
    "<answer>\n{}\n</answer>\nSo <answer>see above</answer>",
]


@pytest.mark.parametrize("text", BESIDE)
def test_words_about_tags_cost_no_answer(text: str) -> None:
    code = "def f(s):\n    return s"
    found = programs_in(text.format(f"```python\n{code}\n```"), "", "", "f", "python")
    assert code in [reading.source.strip() for reading in found]


def test_an_answer_may_end_in_a_quote() -> None:
    for text in ('<answer>\nlet f = "x"</answer>', '[PYTHON]let f = "x"[/PYTHON]'):
        assert final_answer(text).strip() == 'let f = "x"'


OTHERS = [
    "from your_module import f\nprint(f(1))",
    "@pytest.mark.parametrize('a', [1])\ndef test_f(a):\n    assert f(a)",
    "class T(unittest.TestCase):\n    pass",
    "import no_such_plots as plt",
]


@pytest.mark.parametrize("other", OTHERS)
def test_what_fails_in_other_blocks_is_not_missed(other: str, sandbox: Sandbox) -> None:
    task = CodeTask("python", "f", (Case("[3]", "4"),))
    main, other = fenced("def f(x):\n    return x + 1", "python"), fenced(other, "python")
    for text in (main + "\n" + other, other + "\n" + main):
        assert verify(sandbox, task, text).verdict == "pass"


def test_a_body_that_changes_its_argument_is_a_body(sandbox: Sandbox) -> None:
    task = CodeTask("python", "f", (Case("[[2, 1]]", "[1, 2]", view="args[0]"),), head="def f(x):")
    assert verify(sandbox, task, "    x.sort()\n").verdict == "pass"
