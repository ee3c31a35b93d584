"""OCaml tests as people write them: what is read of each kind, and what must not be.

A claim that could hold the expected value on the candidate's side, or that does not mean what it
seems to, stays unread. Left out: the plainest forms (test_problems_formats.py), running the cases
(test_sandbox_ocaml.py).
"""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pawl.problems.ocaml_tests import parse_tests
from pawl.problems.ocaml_text import find_definition

Read = list[tuple[str, str, str]]  # input, comparison, expected


def read(text: str) -> Read:
    cases, unread = parse_tests(text, "f")
    assert not unread, unread
    return [(c.input, c.compare, c.expected) for c in cases]


WRAPPED = {
    "assert (List.of_seq (f 1) = [1; 2])": ("List.of_seq (f 1)", "==", "[1; 2]"),
    "assert ([1; 2] = List.sort compare (f 1))": ("List.sort compare (f 1)", "==", "[1; 2]"),
    "assert (Int64.to_int (f 3L) = 5)": ("Int64.to_int (f 3L)", "==", "5"),
    "assert (f 1 |> List.length = 3)": ("f 1 |> List.length", "==", "3"),
    'assert ((f 1).name = "a")': ("(f 1).name", "==", '"a"'),
    "assert (f 1 + 1 = 3)": ("f 1 + 1", "==", "3"),
    "assert ((f 1, f 2) = (3, 4))": ("(f 1, f 2)", "==", "(3, 4)"),
    "assert (f 1 <> 2)": ("f 1", "!=", "2"),
    "assert (not (f 1 = 2))": ("f 1", "!=", "2"),
    "assert (3 < f 1)": ("f 1", ">", "3"),
    "assert (not (f 1 < 2))": ("f 1", ">=", "2"),
    'assert (f 1 <= "b")': ("f 1", "<=", '"b"'),
    "assert (f 1 > max_int - 1)": ("f 1", ">", "max_int - 1"),
    "assert ((f 1 = 3) = true)": ("f 1", "==", "3"),
    "assert ((f 1 = 3) = false)": ("f 1", "!=", "3"),
    "assert (let r = f 1 in r = 3)": ("f 1", "==", "3"),
    "let f x = x + 1\nlet () = assert (f 1 = 2)": ("f 1", "==", "2"),  # an answer comes along
    "if f 1 <> 2 then failwith \"no\"": ("f 1", "==", "2"),
    'let%test "x" = f 1 = 2': ("f 1", "==", "2"),
    "let%test _ = not (f 1 = 2)": ("f 1", "!=", "2"),
    'let%test_unit "x" = [%test_eq: int] (f 1) 2': ("f 1", "==", "2"),
    "let () = [%test_result: int list] (f 1) ~expect:[2]": ("f 1", "==", "[2]"),
    "let f2 = f 2 and g = 3 in assert (f2 = g)": ("f 2", "==", "3"),
}  # fmt: skip


@pytest.mark.parametrize("text", WRAPPED)
def test_an_equality_or_order_with_the_call_on_one_side(text: str) -> None:
    assert read(text) == [WRAPPED[text]]


BOOLEAN = {
    "assert (List.mem 3 (f 1))": ("List.mem 3 (f 1)", "==", "true"),
    "assert (not (f 1 |> List.mem 3))": ("f 1 |> List.mem 3", "==", "false"),
    "assert (List.mem (f 1) [1; 2])": ("f 1", "in", "[1; 2]"),
    "assert (not (List.mem (f 1) [1; 2]))": ("f 1", "not in", "[1; 2]"),
    "assert (Array.mem (f 1) [|1|])": ("f 1", "in", "Array.to_list ([|1|])"),
    "assert (f 1 = 2 || f 1 = 3)": ("f 1", "in", "[2; 3]"),
    'assert (String.equal (f 1) "a")': ("f 1", "==", '"a"'),
    "assert (not (Int.equal 2 (f 1)))": ("f 1", "!=", "2"),
    "assert (List.equal Int.equal [1] (f 1))": ("f 1", "==", "[1]"),
    "assert (Option.equal (List.equal (=)) (f 1) None)": ("f 1", "==", "None"),
    "assert (compare (f 1) [1] = 0)": ("f 1", "==", "[1]"),
    'assert (String.compare "a" (f 1) <> 0)': ("f 1", "!=", '"a"'),
    "assert ((=) (f 1) 2)": ("f 1", "==", "2"),
    "assert (Option.is_some (f 1))": ("Option.is_some (f 1)", "==", "true"),
    "let want r = r = [1; 2]\nlet () = assert (want (f 3))": ("f 3", "==", "[1; 2]"),
    "assert ((fun r -> r = 3) (f 1))": ("f 1", "==", "3"),
}


@pytest.mark.parametrize("text", BOOLEAN)
def test_a_boolean_around_the_call(text: str) -> None:
    assert read(text) == [BOOLEAN[text]]


STATE = {
    "let a = [|3; 1|] in f a; assert (a = [|1; 3|])": (
        "(let a = [|3; 1|] in f a; a)", "==", "[|1; 3|]",
    ),
    "let () = let a = [|3; 1|] in let () = f a in assert (a = [|1; 3|])": (
        "(let a = [|3; 1|] in f a; a)", "==", "[|1; 3|]",
    ),
    "let a = [|3; 1|]\nlet () = f a\nlet () = assert (Array.length a = 2)": (
        "(let a = [|3; 1|] in f a; Array.length a)", "==", "2",
    ),
    "let a = [|3; 1|];;\nf a;;\nassert (a = [|1; 3|]);;": (
        "(let a = [|3; 1|] in f a; a)", "==", "[|1; 3|]",
    ),
    "let a = [|0|] in let b = a in f a; assert (b.(0) = 1)": (
        "(let a = [|0|] in let b = a in f a; b.(0))", "==", "1",
    ),
    "let r = f 3 in assert (r = 3)": ("f 3", "==", "3"),
    "let r = f 3\nlet () = assert (List.length r > 2)": (
        "(let r = f 3 in List.length r)", ">", "2",
    ),
    "let want = [1; 2]\nlet got = f 3\nlet () = assert (got = want)": ("f 3", "==", "[1; 2]"),
    "let h = Hashtbl.create 8 in Hashtbl.add h 1 2; assert (f h = 2)": (
        "(let h = Hashtbl.create 8 in Hashtbl.add h 1 2; f h)", "==", "2",
    ),
    "let h = f 1 in assert (Hashtbl.find h 1 = 2)": (
        "(let h = f 1 in Hashtbl.find h 1)", "==", "2",
    ),
    "let r = ref 0 in f r; print_int 3; assert (!r = 1)": (
        "(let r = ref 0 in f r; !r)", "==", "1",
    ),
    'let b = Buffer.create 9 in f b "x"; assert (Buffer.contents b = "x")': (
        '(let b = Buffer.create 9 in f b "x"; Buffer.contents b)', "==", '"x"',
    ),
    "let a = Array.make 2 0\nlet () = for i = 0 to 1 do a.(i) <- i done\nlet () = f a; "
    "assert (a = [|1; 0|])": (
        "(let a = Array.make 2 0 in for i = 0 to 1 do a.(i) <- i done; f a; a)", "==", "[|1; 0|]",
    ),
}  # fmt: skip


@pytest.mark.parametrize("text", STATE)
def test_what_stands_before_a_claim_is_kept_where_it_matters(text: str) -> None:
    assert read(text) == [STATE[text]]


def test_a_claimed_call_counts_where_nothing_else_calls() -> None:
    text = "let q = Queue.create ()\nlet () = Queue.add 1 q\nlet () = assert (f q = 1)\n"
    made = "(let q = Queue.create () in Queue.add 1 q;"
    assert read(f"{text}let () = assert (Queue.length q = 0)") == [
        (f"{made} f q)", "==", "1"),
        (f"{made} f q; Queue.length q)", "==", "0"),
    ]


SCOPES: dict[str, Read] = {
    "let x = 1\nlet () = let x = 2 in assert (f x = 20)\nlet () = assert (f (x + 4) = 50)": [
        ("(let x = 2 in f x)", "==", "20"), ("(let x = 1 in f (x + 4))", "==", "50"),
    ],
    "let n = 5\nlet () = let n = 7 in assert (f 1 = n)\nlet () = assert (f 0 = n)": [
        ("f 1", "==", "7"), ("f 0", "==", "5"),
    ],
    "let check x y = assert (f x = y)\n"
    "let () = let check x y = assert (f [x] = y) in check 1 2\nlet () = check 3 4": [
        ("f [1]", "==", "2"), ("f 3", "==", "4"),
    ],
    "let () = let open List in assert (f 1 = hd [2])\nlet () = assert (f 0 = 3)": [
        ("(let open List in f 1)", "==", "(let open List in hd [2])"), ("f 0", "==", "3"),
    ],
    "let a = [|3; 1|]\nlet () = sort a\nlet () = assert (f a = 1)": [
        ("(let a = [|3; 1|] in sort a; f a)", "==", "1"),
    ],
    "let a = [|3; 1|]\nlet () = let a = [|0|] in sort a\nlet () = assert (f a = 1)": [
        ("(let a = [|3; 1|] in f a)", "==", "1"),
    ],
    "let a = [|3; 1|]\nlet () = let b = a in sort b; swap b\nlet () = assert (f a = 1)": [
        ("(let a = [|3; 1|] in (let b = a in (sort b); (swap b); ()); f a)", "==", "1"),
    ],
    "let a = [|3; 1|]\nlet () = let open Array in sort compare a\nlet () = assert (f a = 1)": [
        ("(let a = [|3; 1|] in (let open Array in sort compare a); f a)", "==", "1"),
    ],
    "let a = [|3; 1|]\nlet () = let want = 5 in sort a; assert (f a = want)\n"
    "let () = assert (a = [|1; 3|])": [
        ("(let a = [|3; 1|] in sort a; f a)", "==", "5"),
        ("(let a = [|3; 1|] in sort a; f a; a)", "==", "[|1; 3|]"),
    ],
    "let a = [|3; 1|]\nlet () = let b = a in f b\nlet () = assert (a = [|1; 3|])": [
        ("(let a = [|3; 1|] in (let b = a in (f b); ()); a)", "==", "[|1; 3|]"),
    ],
    "let x = 9\nmodule T = struct let x = 3 let () = assert (f x = 4) end\n"
    "let () = assert (f x = 10)": [
        ("(let x = 3 in f x)", "==", "4"), ("(let x = 9 in f x)", "==", "10"),
    ],
    "let x = 1 in let x = x + 1 in assert (f x = 3)": [
        ("(let x = 1 in let x = x + 1 in f x)", "==", "3"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("text", SCOPES)
def test_what_is_local_ends_with_its_item_but_its_effects_do_not(text: str) -> None:
    assert read(text) == SCOPES[text]


BESIDE = {
    'let test_a () = Alcotest.(check int) "a" 2 (f 1)\n'
    'let () = Alcotest.run "x" [("g", [Alcotest.test_case "a" `Quick test_a])]': ["test_a ()"],
    'let () = Alcotest.run "x" [("g", [Alcotest.test_case "a" `Quick (fun _ -> chk 2 (f 1))])]': [
        "chk 2 (f 1)",
    ],
    'let%expect_test "d" = print_int (f 4); [%expect {|5|}]': ["expect_test"],
    "let t = QCheck.Test.make QCheck.int (fun x -> f x > x)\n"
    "let () = QCheck_runner.run_tests_main [t]": ["run_tests_main"],
    "let passed = ref 0\n"
    'let check got want = if got = want then incr passed else Printf.printf "FAIL"\n'
    "let () = check (f 1) 2\nlet () = check (f 2) 3": ["check (f 1) 2", "check (f 2) 3"],
    'let () = if f 9 = 10 then print_endline "PASS" else print_endline "FAIL"': ["f 9 = 10"],
    'let r = f 3\nlet () = assert (r = 3)\nlet () = if r > 2 then print_endline "ok"': ["r > 2"],
    "module M = struct let go x = f x end": ["module M"],
    "let x = 2 in assert (f x = 3)\nassert (f x = 5)": ["f x = 5"],
}  # fmt: skip


@pytest.mark.parametrize("text", BESIDE)
def test_what_names_the_function_and_is_not_read_is_reported(text: str) -> None:
    """Alone and beside an assertion that is read."""
    alone, told = parse_tests(text, "f")
    cases, unread = parse_tests(f"{text}\nlet () = assert (f 77 = 78)", "f")
    assert len(cases) == len(alone) + 1 and unread == told
    assert len(told) == len(BESIDE[text])
    assert all(part in one for part, one in zip(BESIDE[text], told, strict=True)), told


@pytest.mark.parametrize(
    "text",
    [
        "let run x = f x + 1\nlet () = assert (run 3 = 4)",
        "let got = f 3\nlet () = assert (got = 3)",
        "let a = [|3; 1|]\nlet () = f a\nlet () = assert (a = [|1; 3|])",
        "let rows = [(f 1, 2)]\nlet () = List.iter (fun (a, b) -> assert (a = b)) rows",
        "let f x = x + 1\nlet () = assert (f 1 = 2)",
    ],
)  # fmt: skip
def test_what_a_case_was_made_of_is_not_reported(text: str) -> None:
    assert len(read(text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "let r = ref 0\n" + "".join(
            f"let () = incr r; assert (f !r = {i})\n" for i in range(800)
        ),
        "".join(f"let a = [|{i}|]\nlet () = assert (f a = {i})\n" for i in range(2000)),
        "".join(f"let a{i} = {i}\nlet () = assert (f a{i} = {i})\n" for i in range(2000)),
        "let a = [|1|]\n" + "".join(
            f"let () = let b = a in sort b; assert (f a = {i})\n" for i in range(800)
        ),
    ],
)  # fmt: skip
def test_many_steps_are_read_in_short_time(text: str) -> None:
    began = time.process_time()
    cases, unread = parse_tests(text, "f")
    assert len(cases) + len(unread) == text.count("assert")
    assert time.process_time() - began < 6  # seconds; a machine that is free needs less than one


RAISES = {
    "assert (try ignore (f 1); false with Invalid_argument _ -> true)": "Invalid_argument _",
    "assert (try let _ = f 1 in false with Not_found -> true | _ -> false)": "Not_found",
    "assert (match f 1 with exception Failure _ -> true | _ -> false)": "Failure _",
    'assert (match f 1 with _ -> false | exception Failure m -> m = "bad")': 'Failure "bad"',
    "assert (try ignore (f 1); false with _ -> true)": "_",
    "let () = try ignore (f 1); assert false with Not_found -> ()": "Not_found",
    "let () = match f 1 with exception Not_found -> () | _ -> assert false": "Not_found",
    'assert_raises (Failure "x") (fun () -> f 1)': 'Failure "x"',
    "OUnit2.assert_raises Not_found (fun _ -> ignore (f 1))": "Not_found",
}


@pytest.mark.parametrize("text", RAISES)
def test_expected_exceptions(text: str) -> None:
    assert read(text) == [("f 1", "raises", RAISES[text])]


HELPERS: dict[str, Read] = {
    "let ae exp got _test_ctxt = assert_equal exp got ~printer:string_of_bool\n"
    'let tests = ["a" >:: ae false (f 2015); "b" >:: ae true (f 1996)]\n'
    'let () = run_test_tt_main ("leap" >::: tests)': [
        ("f 2015", "==", "false"), ("f 1996", "==", "true"),
    ],
    "let test name input expected = name >:: fun _ -> assert_equal expected (f input)\n"
    'let suite = "s" >::: [test "a" 1 2; test "b" (-3) [4]]': [
        ("f 1", "==", "2"), ("f (-3)", "==", "[4]"),
    ],
    "let check x y = assert (f x = y)\nlet () = check 1 2; check (g 3) [1]": [
        ("f 1", "==", "2"), ("f (g 3)", "==", "[1]"),
    ],
    "let eq = assert_equal ~printer:string_of_int\n"
    'let t = "x" >::: ["a" >:: (fun _ -> eq 3 (f 1)); "" >:: (fun c -> let x = 4 in eq x (f 2))]': [
        ("f 1", "==", "3"), ("f 2", "==", "4"),
    ],
    "let check ~input ~want = assert (f input = want)\nlet () = check ~input:1 ~want:2": [
        ("f 1", "==", "2"),
    ],
    "let run g x want = assert (g x = want)\nlet () = run f 1 2": [("f 1", "==", "2")],
    'let test n got want = if got <> want then failwith n\nlet () = test "a" (f 1) 2': [
        ("f 1", "==", "2"),
    ],
    'assert_bool "m" (f 1 = 2 && f 2 > 3)': [("f 1", "==", "2"), ("f 2", ">", "3")],
    "let one () = assert (f 1 = 2)\nlet () = one ()": [("f 1", "==", "2")],
    "module T = struct let () = assert (f 1 = 2) end": [("f 1", "==", "2")],
    'let t = "s" >::: List.map (fun (n, x, y) -> n >:: fun _ -> assert_equal y (f x)) '
    '["a", 1, 2; "b", 3, 4]': [("f 1", "==", "2"), ("f 3", "==", "4")],
    "List.iter (fun (x, y) -> assert (f x = y)) [(1, 2); (3, [4])]": [
        ("f 1", "==", "2"), ("f 3", "==", "[4]"),
    ],
    'let rows = [("a", 1, "x"); ("b", 2, "y")]\n'
    "let () = rows |> List.iter (fun (a, b, want) -> let got = f a b in assert (got = want))": [
        ('f "a" 1', "==", '"x"'), ('f "b" 2', "==", '"y"'),
    ],
}  # fmt: skip


@pytest.mark.parametrize("text", HELPERS)
def test_helpers_and_tables_are_written_out(text: str) -> None:
    assert read(text) == HELPERS[text]


@pytest.mark.parametrize(
    ("text", "close"),
    [
        ("assert_equal ~cmp:(cmp_float ~epsilon:0.01) 3.5 (f 1)", (0.01, 0.0)),
        ("assert_equal ~cmp:cmp_float (f 1) 3.5", (1e-5, 0.0)),
        ("assert_equal ~cmp:(fun a b -> abs_float (a -. b) < 0.1) 3.5 (f 1)", (0.0, 0.1)),
        ("assert_equal ~cmp:Float.equal 3.5 (f 1)", None),
        ("let near a b = Float.abs (a -. b) < 0.1\nlet () = assert (near (f 1) 3.5)", (0.0, 0.1)),
        ("let eps = 0.1 in assert (abs_float (f 1 -. 3.5) < eps)", (0.0, 0.1)),
    ],
)
def test_a_comparison_of_the_tests_own(text: str, close: tuple[float, float] | None) -> None:
    (case,), unread = parse_tests(text, "f")
    assert (case.input, case.expected, case.close) == ("f 1", "3.5", close) and not unread


UNREAD = [
    "assert (f -1 = 2)",
    "assert (f 1 -2 = 3)",
    "assert (f 1 = 1, 2)",
    "assert (not f 1)",
    "assert (approx (f 1) 3.0)",  # a value to compare with, in a function that is not known
    "assert (equal (f 1) [1; 2])",
    "assert (List.for_all2 (=) (f 3) [1; 2])",
    "let want = [1; 2] in assert (same (f 3) want)",
    "assert ((if f 1 = 3 then 1 else 0) = 1)",
    'assert (string_of_bool (f 3 = [1; 2]) = "true")',
    "let y = [1; 2] in assert (Bool.to_int (f 3 = y) = 1)",
    "let rec is r = match r with [1; 2] -> true | _ -> false\nlet () = assert (is (f 3))",
    "let g r = match r with [1; 2] -> 0 | _ -> 1\nlet () = assert (g (f 3) = 0)",
    "assert (f 1 - 3 = 0)",
    "assert (abs (f 1 - 3) <= 1)",
    "assert (f 1 -. 3.5 < 0.01)",
    "assert (f 1 >= [1])",  # no order that is sure
    "assert (f 1 < Some 2)",
    "assert (f 1 = f 2)",
    "let debug = true\nlet () = assert (f 1 = 1 && debug || f 1 = 2)",
    "assert (f 1 = 1 && f 2 = 3 || f 1 = 2)",
    "assert (not (f 1 = 1 && f 2 = 3))",
    "[%test_pred: int] is_even (f 1)",
    "[%test_eq: float] ~equal:near (f 1) 2.",
    "let f = g in assert (f 1 = 2)",  # another function
    "assert (match f 1 with Some x -> x = 3 | None -> false)",
    "let () = for i = 0 to 3 do assert (f i = i) done",
    "let rec loop i = if i < 3 then (assert (f i = i); loop (i + 1))\nlet () = loop 0",
    "List.iter (fun x -> assert (f x > 0)) (List.init 3 succ)",
    "let check x y = assert (f x = y)",  # never called
    "assert_equal ~cmp:close_enough 3.5 (f 1)",
    "let () = try let _ = f 1 in assert false with _ -> ()",  # it catches its own failure
    'let () = try ignore (f 1); failwith "no" with Failure _ -> ()',
    "assert (try ignore (f 1); false with Failure m when m = \"x\" -> true)",
    "assert (try f 1 = 2 with Not_found -> false)",
    'Alcotest.(check int) "same" 3 (f 1)',
    "expect_equal 3 (f 1)",
    "assert (3 = 3)",
    "assert (f 1 = 2",
]  # fmt: skip


@pytest.mark.parametrize("text", UNREAD)
def test_what_is_not_certain_is_reported(text: str) -> None:
    cases, unread = parse_tests(text, "f")
    assert not cases and unread


SECRET = "[987; 654]"


@pytest.mark.parametrize(
    "text",
    [
        "assert (f 1 = S)", "assert (List.rev (f 1) = S)", "assert (List.mem (f 1) [S; S])",
        "let want = S in assert (f 1 = want)", "let r = f 1 in let want = S in assert (want = r)",
        "let a = [|1|] in let want = S in f a; assert (Array.to_list a = want)",
        "let check x y = assert (f x = y)\nlet () = check 1 S",
        "let ok r = r = S\nlet () = assert (ok (f 1)); assert (not (ok (f 1)))",
        "let () = List.iter (fun (x, y) -> assert (f x = y)) [(1, S); (2, S)]",
        "let h = Hashtbl.create 1\nlet want = S\nlet () = f h; assert (Hashtbl.find h 1 = want)",
        "assert (equal S (f 1))", "let g x = if x = S then 1 else 0\nlet () = assert (g (f 1) = 1)",
        "assert (Bool.not (f 1 = S))", "let is = (=) S in assert (is (f 1))",
        "let t = [(1, S)] in assert (f 1 = List.assoc 1 t)", "assert ((f 1 = S) = true)",
        "let d = List.map2 (-) S in assert (d (f 1) = [0; 0])",
        "assert (List.filter (fun x -> not (List.mem x S)) (f 1) = [])",
        "let (a, b) = (4, S)\nlet () = assert (f a = b)",
        "let x, want = 3, S in assert (f x = want)",
        "let (a, (b, c)) = (4, (5, S)) in assert (f a b = c)",
        "let (a : int), b = 4, S in assert (f a = b)", "let [a; b] = [1; S] in assert (f a = b)",
        "let a :: b :: _ = 1 :: S :: [] in assert (f a = b)",
        "let t = [(5, S); (6, S)]\nlet () = assert (f (fst (List.hd t)) = snd (List.hd t))",
        "let t = [(5, S)]\nlet () = let (x, y) = List.hd t in assert (f x = y)",
        "let t = [(5, S)]\nlet c = List.hd t\nlet x = fst c\nlet () = assert (f x = snd c)",
        "List.iter (fun c -> assert (f (fst c) = snd c)) [(5, S)]",
        "List.iter (fun c -> let (x, y) = c in assert (f x = y)) [(5, S)]",
        "List.iter (fun c -> let x = fst c and y = snd c in assert (f x = y)) [(5, S)]",
        "List.iter (fun c -> assert (f (List.hd c) = List.nth c 1)) [[5; S]]",
        "let c = (5, S) in assert (f (fst c) = snd c)",
        "let c = {input = 5; want = S} in assert (f c.input = c.want)",
        "let {input; want} = {input = 5; want = S} in assert (f input = want)",
        "List.iter (fun c -> assert (f c.input = c.want)) [{input = 5; want = S}]",
        "let inputs = [|1; 2|] and wants = [|S; S|] in assert (f inputs.(0) = wants.(0))",
        "let l = [5; S] in assert (f (List.hd l) = List.nth l 1)",
        "let l = [5; S] in let x = List.hd l in let y = List.nth l 1 in assert (f x = y)",
        "let l = [|5; S|] in assert (f l.(0) = l.(1))",
        "let r = ref (5, S) in assert (f (fst !r) = snd !r)",
        "let row = function 0 -> (5, S) | _ -> (1, S) in assert (f (fst (row 0)) = snd (row 0))",
        "let row k = if k = 0 then 5 else S in assert (f (row 0) = row 1)",
        "let h = Hashtbl.create 2\nlet () = Hashtbl.add h 1 5; Hashtbl.add h 2 S\n"
        "let () = assert (f (Hashtbl.find h 1) = Hashtbl.find h 2)",
        "assert (f 1 / 987 = 1)", "assert (max (f 1) 987 = 987)", "assert (f 1 mod 988 = 987)",
        "assert (f 1 land 987 = 987)", "assert (f 1 lxor 987 = 0)", "assert (f 1 /. 987. = 1.)",
        "let cap = 987 in assert (min cap (f 1) = cap)", "assert (Int.max 987 (f 1) = 987)",
    ],
)  # fmt: skip
def test_no_input_holds_what_is_expected(text: str) -> None:
    cases, unread = parse_tests(text.replace("S", SECRET), "f")
    assert cases or unread
    assert not any("987" in case.input for case in cases), cases


SHARED = {
    "let x = 3 in assert (f x = x + 1)": ("(let x = 3 in f x)", "(let x = 3 in x + 1)"),
    "let (x : int) = 3 in assert (f x = x + 1)": (
        "(let (x : int) = 3 in f x)", "(let (x : int) = 3 in x + 1)",
    ),
    "let l = [2; 1] in assert (f l = List.length l)": (
        "(let l = [2; 1] in f l)", "(let l = [2; 1] in List.length l)",
    ),
    "let l = [2; 1] in let r = f l in assert (r = List.sort compare l)": (
        "(let l = [2; 1] in f l)", "(let l = [2; 1] in List.sort compare l)",
    ),
    'let s = "ab" in assert (f (encode s) = s)': ('(let s = "ab" in f (encode s))', '"ab"'),
    "let a = [|1|] in assert (f (Array.to_list a) = Array.length a)": (
        "(let a = [|1|] in f (Array.to_list a))", "(let a = [|1|] in Array.length a)",
    ),
    "let r = ref 3 in assert (f !r = !r + 1)": (
        "(let r = ref 3 in f !r)", "(let r = ref 3 in !r + 1)",
    ),
    "let g x = x * 2 in assert (f (g 3) = g 4)": (
        "(let g x = x * 2 in f (g 3))", "(let g x = x * 2 in g 4)",
    ),
    "let round2 x = floor (x *. 100.) /. 100.\nlet () = assert (round2 (f 1) = 3.14)": (
        "(let round2 x = floor (x *. 100.) /. 100. in round2 (f 1))", "3.14",
    ),
    "let (a, b) = (4, 5) in assert (f a b = a + b)": (
        "(let a = 4 in let b = 5 in f a b)", "(let a = 4 in let b = 5 in a + b)",
    ),
    "let c = (fst (1, 2), 5) in assert (f (fst c) = snd c)": ("f (1)", "5"),
    "List.iter (fun c -> assert (f (fst c) = snd c)) [(5, 66)]": ("f (5)", "66"),
    "List.iter (fun c -> let (x, y) = c in assert (f x = y)) [(5, 66)]": (
        "(let x = 5 in f x)", "66",
    ),
    "let c = {input = 5; want = 66} in assert (f c.input = c.want)": ("f 5", "66"),
    "List.iter (fun c -> assert (f c.input = c.want)) [{input = 5; want = 66}]": ("f 5", "66"),
    "let xs = [|1; 2|] and ys = [|31; 32|]\nlet () = assert (f xs.(0) = ys.(0))": (
        "(let xs = [|1; 2|] in f xs.(0))", "(let ys = [|31; 32|] in ys.(0))",
    ),
}  # fmt: skip


@pytest.mark.parametrize("text", SHARED)
def test_what_both_sides_need_whole_is_read(text: str) -> None:
    assert read(text) == [(SHARED[text][0], "==", SHARED[text][1])]


def test_a_part_of_what_is_changed_is_not_taken_from_its_text() -> None:
    text = "let c = ([|2; 1|], 5)\nlet () = sort (fst c)\nlet () = assert (f (fst c) = 3)"
    assert read(text) == [("(let c = ([|2; 1|], 5) in sort (fst c); f (fst c))", "==", "3")]
    text = "let c = {n = 1}\nlet () = c.n <- 2\nlet () = assert (f c.n = 3)"
    assert read(text) == [("(let c = {n = 1} in c.n <- 2; f c.n)", "==", "3")]


PIECES = [
    "fst ", "snd ", "{", "}", "a = 1", "c.a ", "% ", "test ", "|| ", "let%test _ = ",
    "[%test_eq: int] ",
    "let ", "a ", "= ", "f ", "1 ", "in ", "assert ", "(", ")", "[", "]", ";", ";;", "fun ", "x ",
    "-> ", "assert_equal ", "~cmp:", "&& ", "not ", "|> ", "@@ ", "match ", "try ", "with ", "| ",
    "exception ", "E ", "_ ", ",", ">:: ", '"s" ', "rec ", "and ", "List.iter ", "begin ", "end ",
    "if ", "then ", "else ", "open M ", "module M = struct ", "a.(0) ", "!", "~x ", "<> ", "< ",
]  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=40))
def test_any_text_of_these_words_is_read_or_not(pieces: list[str]) -> None:
    cases, unread = parse_tests("".join(pieces), "f")
    assert all(case.input for case in cases) and all(isinstance(u, str) for u in unread)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 3000, "assert (" + "not (" * 3000, "let a = " * 3000, "let a = f 1 in " * 2000,
        "let h x = assert (f x = 1)\n" + "".join(
            f"let h{i} x = h{i - 1 if i else ''} x; h{i - 1 if i else ''} x\n" for i in range(40)
        ) + "let () = h39 1",
        "let x0 = (1, 1)\n" + "".join(f"let x{i} = (x{i - 1}, x{i - 1})\n" for i in range(1, 60))
        + "let () = assert (f 1 = x59)",
        "assert (f 1 = 2);\n" * 3000,
    ],
)  # fmt: skip
def test_long_and_deep_texts_end(text: str) -> None:
    parse_tests(text, "f")


def test_what_nests_too_deeply_does_not_hide_the_rest() -> None:
    text = "let h x = assert (f x = 1)\nlet h x = h x; assert (f x = 2)\nlet () = h 3\n"
    cases, unread = parse_tests(text + "let () = assert (f 1 = 2)", "f")
    assert unread and cases[-1].input == "f 1" and cases[-1].expected == "2"


LINES = {
    "assert (f 1 = 2)\nassert (f 2 = 3)": [("f 1", "2"), ("f 2", "3")],
    "let () = assert (f 1 = 2)\nassert (f 2 = 3)": [("f 1", "2"), ("f 2", "3")],
    "let () =\n  assert (f 1 = 2)\n  assert (f 2 = 3)": [("f 1", "2"), ("f 2", "3")],
    "assert_equal 1 (f 0)\nassert_equal 2 (f 1)": [("f 0", "1"), ("f 1", "2")],
    "let x = 3\nassert (f x = 4)": [("(let x = 3 in f x)", "4")],
    "assert (f 1 = 2)\nlet x = 3 in assert (f x = 4)": [
        *(("f 1", "2"), ("(let x = 3 in f x)", "4")),
    ],
    "let check a b = assert (f a = b)\ncheck 1 2\ncheck 3 4": [("f 1", "2"), ("f 3", "4")],
    "let a = [|3; 1|]\nf a\nassert (a = [|1; 3|])": [
        ("(let a = [|3; 1|] in f a; a)", "[|1; 3|]"),
    ],
}


@pytest.mark.parametrize("text", LINES)
def test_tests_written_line_by_line_need_no_separators(text: str) -> None:
    """No OCaml, but what sets hold: a list of assertions, joined."""
    cases, unread = parse_tests(text, "f")
    assert not unread
    assert [(c.input, c.expected) for c in cases] == LINES[text]


def test_a_definition_in_backticks_is_a_definition() -> None:
    found = find_definition("Write `let f (x : int) : int =`.")
    assert found is not None and found.signature == "val f : int -> int"
