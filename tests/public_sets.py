"""A row of each public data set, in its own layout, with answers whose scores are worked out.

The problems are made up here; columns and nesting are those of the sets. Left out: the sets
themselves, which bench/evalplus.py reads where they lie.
"""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from typing import Any, NamedTuple

# Sum of a list on standard input. The first test stands in the prompt; a constant passes one of the
# three others, so that n of them are worth (n - 1) / 2.
ASKED = """Print the sum of the numbers.

-----Input-----
A number n, then n numbers.

-----Examples-----
Input
3
1 2 3

Output
6
"""
INS = ["3\n1 2 3\n", "2\n5 5\n", "2\n3 4\n", "1\n0\n"]
OUTS = ["6\n", "10\n", "7\n", "0\n"]
SUMS = "n = int(input())\nprint(sum(map(int, input().split())))\n"
WRONG = SUMS.replace("map(int, input().split())", "set(map(int, input().split()))")  # not 5 5
SILENT = "n = int(input())\n"
TESTS = {"inputs": INS, "outputs": OUTS}
RECORDS = [{"input": a, "output": b} for a, b in zip(INS, OUTS, strict=True)]

# Two numbers of a list with a sum: LeetCode's first problem, as a method of a class.
STARTER = """class Solution:
    def twoSum(self, nums: List[int], target: int) -> List[int]:
        """
PAIRS = [
    ([2, 7, 1], 9, [0, 1]),
    ([3, 2, 4], 6, [1, 2]),
    ([3, 3], 6, [0, 1]),
    ([1, 5, 3], 8, [1, 2]),
]
TWO = """class Solution:
    def twoSum(self, nums: List[int], target: int) -> List[int]:
        where = defaultdict(list)
        for i, x in enumerate(nums):
            if where[target - x]:
                return [where[target - x][0], i]
            where[x].append(i)
"""
# The last two: three of four, of which a constant passes two.
ENDS = "class Solution:\n    def twoSum(self, nums, target):\n        n = len(nums)\n"
ENDS += "        return [n - 2, n - 1]\n"
NOTHING = "class Solution:\n    def twoSum(self, nums, target):\n        return []\n"
CHECKS = "def check(candidate):\n" + "".join(
    f"    assert candidate(nums = {nums}, target = {target}) == {want}\n"
    for nums, target, want in PAIRS
)
PRELUDE = "import random\nfrom typing import *\nfrom collections import *\ninf = float('inf')\n"

# Squares: of the inputs 0 to 9 no two have one value, so the best constant passes one.
HEAD = 'def squared(x: int) -> int:\n    """The square of x."""\n'
PLUS = """import numpy as np

def is_floats(x) -> bool:
    return isinstance(x, float)


def assertion(out, exp, atol):
    exact_match = out == exp

    if atol == 0 and is_floats(exp):
        atol = 1e-6
    if not exact_match and atol != 0:
        assert np.allclose(out, exp, rtol=1e-07, atol=atol)
    else:
        assert exact_match


def check(candidate):
    inputs = [[0], [1], [2], [3], [4], [5], [6], [7], [8], [9]]
    results = [0, 1, 4, 9, 16, 25, 36, 49, 64, 81]
    for i, (inp, exp) in enumerate(zip(inputs, results)):
        assertion(candidate(*inp), exp, 0)
"""
DOUBLED = HEAD + "    return 2 * x\n"  # right for 0 and 2: 2 of 10, the constant 1: 1 / 9
LAST = """(* last - 1.0 *)
open OUnit2
open Last

let ae exp got _test_ctxt = assert_equal exp got ~printer:string_of_int

let tests = [
  "one" >:: ae 1 (last_of [1]);
  "two" >:: ae 2 (last_of [1; 2]);
  "three" >:: ae 3 (last_of [1; 2; 3]);
]

let () = run_test_tt_main ("last" >::: tests)
"""
LAST_OF = "let rec last_of l =\n  match l with [x] -> x | _ :: rest -> last_of rest | [] -> 0\n"


class Public(NamedTuple):
    """A row of a set. answers: (completion, share of the tests' weight), 1.0 for a pass."""

    name: str
    row: dict[str, Any]
    answers: list[tuple[str, float]]


def fenced(code: str) -> str:
    """As a model answers."""
    return f"So:\n```python\n{code}```\n"


PRINTED = [(fenced(SUMS), 1.0), (fenced(WRONG), 0.5), (fenced(SILENT), 0.0)]
METHOD = [(fenced(TWO), 1.0), (ENDS, 0.5), (fenced(NOTHING), 0.0)]
SQUARED = HEAD + "    return x * x\n"
FUNCTION = [(fenced(SQUARED), 1.0), (DOUBLED, 1 / 9), ("    return x ** 2\n", 1.0)]
SHARED = "def both(a, b):\n    assert type(a) is tuple\n    return [x for x in a if x in b]\n"


def packed(tests: object) -> str:
    """Private tests as LiveCodeBench packs them."""
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(tests)))).decode()


def _judged(kind: str, **more: object) -> list[dict[str, object]]:
    return [{**test, kind: "stdin", **more} for test in RECORDS]


def _functional() -> list[dict[str, object]]:
    return [
        {"input": f"{nums}\n{target}", "output": str(want), "testtype": "functional"}
        for nums, target, want in PAIRS
    ]


LCB = {
    "question_title": "Sums", "platform": "atcoder", "contest_id": "abc1", "difficulty": "easy",
    "contest_date": "2024-01-01T00:00:00",
}  # fmt: skip
CALLED = {
    "fn_name": "twoSum",
    "inputs": [[nums, target] for nums, target, _ in PAIRS],
    "outputs": [[want] for _, _, want in PAIRS],
}
SYNTHETIC = [{"type": "stdin_stdout", **test} for test in RECORDS]
SETS = [
    Public(
        "humanevalplus",
        {"task_id": "HumanEval/0", "prompt": HEAD, "entry_point": "squared",
         "canonical_solution": "    return x * x\n", "test": PLUS},
        FUNCTION,
    ),
    Public(
        "humanevalplus_release",
        {"task_id": "HumanEval/1", "prompt": HEAD + "    # released\n", "entry_point": "squared",
         "canonical_solution": "    return x * x\n", "test": "def check(candidate):\n    pass\n",
         "contract": "    assert x >= 0\n", "atol": 0,
         "base_input": [[0], [1], [2]], "plus_input": [[k] for k in range(3, 10)]},
        FUNCTION,
    ),
    Public(
        "mbppplus",
        {"task_id": 2, "code": "def squared(x):\n    return x * x\n", "prompt": "Square x.",
         "source_file": "x.ipynb", "test_imports": [], "test_list": ["assert squared(2) == 4"],
         "test": PLUS.replace("def check(candidate):\n", "").replace("\n    inputs", "\ninputs")
         .replace("    results", "results").replace("    for", "for")
         .replace("    assertion(candidate", "assertion(squared")},
        FUNCTION[:2],
    ),
    Public(
        "mbppplus_release",
        {"task_id": "Mbpp/2", "entry_point": "both", "atol": 0, "contract": "",
         "prompt": '"""\nShared.\nassert set(both((3, 4), (4, 5))) == set((4,))\n"""\n',
         "canonical_solution": "def both(a, b):\n    return tuple(set(a) & set(b))\n",
         "assertion": "assert both((3, 4), (4, 5)) == (4,)\n",
         "base_input": [[[3, 4], [4, 5]]], "plus_input": [[[1, 2], [2, 1]], [[5], [5, 6]]]},
        # the prompt shows the first; tuples go in, a list comes out, and only its items count
        [(fenced(SHARED), 1.0), ("def both(a, b):\n    return a\n", 0.0)],
    ),
    Public(
        "apps",
        {"problem_id": 4, "question": ASKED, "solutions": json.dumps(["print raw_input()", SUMS]),
         "input_output": json.dumps(TESTS), "difficulty": "interview", "url": "u",
         "starter_code": ""},
        PRINTED,
    ),
    Public(
        "apps_call",
        {"problem_id": 5, "question": "Two sum.", "solutions": json.dumps([TWO]),
         "input_output": json.dumps(CALLED), "difficulty": "introductory", "url": "u",
         "starter_code": STARTER},
        METHOD,
    ),
    Public(
        "taco",
        {"question": f"{ASKED}\nOne of TACO.", "solutions": json.dumps([SUMS]), "starter_code": "",
         "input_output": json.dumps(TESTS), "difficulty": "EASY", "raw_tags": "['math']",
         "name": "sums", "source": "codeforces", "tags": "['Mathematics']", "skill_types": "[]",
         "url": "u", "time_limit": "2.0 seconds", "date": None, "memory_limit": None},
        PRINTED,
    ),
    Public(
        "code_contests",
        {"name": "1_A. Sums", "description": f"{ASKED}\nOf a contest.",
         "public_tests": {"input": INS[:1], "output": OUTS[:1]},
         "private_tests": {"input": INS[1:3], "output": OUTS[1:3]},
         "generated_tests": {"input": INS[3:], "output": OUTS[3:]},
         "solutions": {"language": [2, 1, 3], "solution": ["int main() {}", "print 1", SUMS]},
         "incorrect_solutions": {"language": [3], "solution": [WRONG]}, "difficulty": 7,
         "time_limit": {"seconds": 2, "nanos": 0}, "input_file": "", "output_file": ""},
        PRINTED,
    ),
    Public(
        "livecodebench",
        {**LCB, "question_id": "abc1_a", "question_content": f"{ASKED}\nOf a bench.",
         "starter_code": "", "metadata": "{}",
         "public_test_cases": json.dumps(_judged("testtype")[:1]),
         "private_test_cases": packed(_judged("testtype")[1:])},
        PRINTED,
    ),
    Public(
        "livecodebench_call",
        {**LCB, "question_id": "3", "question_content": "Two sum of a bench.",
         "starter_code": STARTER, "metadata": json.dumps({"func_name": "twoSum"}),
         "public_test_cases": json.dumps(_functional()[:1]),
         "private_test_cases": packed(_functional()[1:])},
        [METHOD[0], (ENDS, 0.0), METHOD[2]],  # it fails the public one: one short of the others
    ),
    Public(
        "leetcode",
        {"task_id": "two-sum", "question_id": 1, "difficulty": "Easy", "tags": ["Array"],
         "problem_description": "Two sum.", "starter_code": STARTER, "prompt": PRELUDE,
         "estimated_date": "2015-08-07", "completion": TWO, "entry_point": "Solution().twoSum",
         "test": CHECKS, "query": f"Find two.\n```python\n{STARTER}\n```\n", "response": "..."},
        METHOD,
    ),
    Public(
        "deepcoder",
        {"problem": f"{ASKED}\nFor a coder.", "solutions": [fenced(SUMS)],
         "tests": json.dumps(SYNTHETIC)},
        PRINTED,
    ),
    Public(
        "synthetic",
        {"problem_id": "vcp_1", "task_type": "verifiable_code", "prompt": f"{ASKED}\nIn Python.",
         "gold_standard_solution": fenced(SUMS), "metadata": "{}",
         "verification_info": repr({"language": "python", "test_cases": SYNTHETIC})},
        PRINTED,
    ),
    Public(
        "synthetic_2",
        {"problem_id": "p2", "task_type": "verifiable-code", "prompt": f"{ASKED}\nThe second.",
         "verification_info": json.dumps({"language": "python", "test_cases": SYNTHETIC})},
        PRINTED,
    ),
    Public(
        "eurus",
        {"data_source": "taco", "ability": "code", "extra_info": {"index": 0, "split": "dummy"},
         "prompt": [{"role": "system", "content": "Think."},
                    {"role": "user", "content": f"{ASKED}\nWrite Python."}],
         "reward_model": {"ground_truth": json.dumps(TESTS), "style": "rule"}},
        PRINTED,
    ),
    Public(
        "ocaml_training",
        {"prompt": "(**Last of a list.*)\nlet last_of (l : int list) : int =", "solution": LAST_OF,
         "tests": "let () = assert (last_of [1] = 1)\nlet () = assert (last_of [1; 2] = 2)"},
        [(LAST_OF, 1.0), ("let last_of (l : int list) : int = 1", 0.0)],
    ),
]  # fmt: skip
