"""OCaml tests in every form that is read, executed: right programs pass, wrong ones do not.

Also how values are shown, and that what comes over the channel is read without an error. Left out:
reading alone (test_problems_ocaml.py), attacks (test_sandbox_attacks.py).
"""

from __future__ import annotations

import random
import shutil

import pytest
from channel_messages import DUMPS, message
from hypothesis import given, settings
from hypothesis import strategies as st

from pawl.errors import PawlError
from pawl.problems.ocaml_tests import parse_tests
from pawl.sandbox.ocaml import OCaml, is_call
from pawl.sandbox.ocaml_values import float_text, kind, literal_kind, raised, shown, stands
from pawl.sandbox.tiers import Sandbox
from pawl.sandbox.verify import best_constant, verify
from pawl.types import Case, CodeTask

needs_ocaml = pytest.mark.skipif(shutil.which("ocamlc") is None, reason="no OCaml here")


def task(signature: str, text: str) -> CodeTask:
    cases, unread = parse_tests(text, "f")
    assert cases and not unread, unread
    return CodeTask("ocaml", "f", tuple(cases), signature=f"val f : {signature}")


# signature, tests, right program, wrong program
EXECUTED = {
    "a sequence as a list": (
        "int -> int Seq.t", "assert (List.of_seq (f 2) = [2; 3])",
        "let f x = List.to_seq [x; x + 1]", "let f x = List.to_seq [x]",
    ),
    "sorted": (
        "int -> int list", "assert (List.sort compare (f 2) = [1; 2])",
        "let f _ = [2; 1]", "let f _ = [2; 2]",
    ),
    "length through a pipe": (
        "int -> string list", "assert (f 3 |> List.length = 3)",
        'let f n = List.init n (fun _ -> "")', "let f _ = []",
    ),
    "parts of a pair": (
        "int -> int * string", 'assert (fst (f 1) = 1 && snd (f 1) = "a")',
        'let f x = (x, "a")', 'let f x = (x + 1, "b")',
    ),
    "other than": (
        "int -> string", 'assert (f 1 <> "a")', 'let f _ = "b"', 'let f _ = "a"',
    ),
    "orders of numbers": (
        "int -> int", "assert (f 1 > 3); assert (5 >= f 1)", "let f _ = 5", "let f _ = 3",
    ),
    "orders of floats and strings": (
        "float -> float", "assert (f 1. < 0.5); assert (string_of_float (f 1.) < \"1\")",
        "let f _ = -2.", "let f _ = nan",
    ),
    "one of": (
        "int -> int", "assert (List.mem (f 1) [2; 3])", "let f _ = 3", "let f _ = 1",
    ),
    "one of, in part": (
        "int -> int * bool", "assert (List.mem (fst (f 1)) [2; 3])",
        "let f _ = (3, true)", "let f _ = (1, true)",
    ),
    "membership": (
        "int -> int list", "assert (List.mem 3 (f 1) && not (List.mem 4 (f 1)))",
        "let f _ = [1; 3]", "let f _ = [4]",
    ),
    "in place": (
        "int array -> unit", "let a = [|3; 1|] in f a; assert (a = [|1; 3|])",
        "let f a = Array.sort compare a", "let f _ = ()",
    ),
    "in place, a reference": (
        "int ref -> unit", "let r = ref 0 in f r; assert (!r = 1)", "let f r = incr r",
        "let f r = decr r",
    ),
    "a table as argument": (
        "(int, int) Hashtbl.t -> int",
        "let h = Hashtbl.create 8 in Hashtbl.add h 1 2; assert (f h = 2)",
        "let f h = Hashtbl.find h 1", "let f h = Hashtbl.length h",
    ),
    "a table as result": (
        "int -> (int, int) Hashtbl.t",
        "let h = f 1 in assert (Hashtbl.find h 1 = 2); assert (Hashtbl.length h = 1)",
        "let f x = let h = Hashtbl.create 1 in Hashtbl.add h x 2; h",
        "let f x = let h = Hashtbl.create 1 in Hashtbl.add h x 3; h",
    ),
    "in place, within a local scope": (
        "int array -> unit",
        "let a = [|3; 1|]\nlet () = let b = a in f b; b.(0) <- b.(0) + 5\n"
        "let () = let a = [|9|] in a.(0) <- 8\nlet () = assert (a = [|6; 3|])",
        "let f a = Array.sort compare a", "let f _ = ()",
    ),
    "pairs and records that are written out": (
        "int -> int",
        "type c = {input : int; want : int}\nlet (a, b) = (4, 8)\nlet () = assert (f a = b)\n"
        "let () = List.iter (fun c -> assert (f c.input = c.want)) [{input = -5; want = -10}]\n"
        "let () = List.iter (fun c -> assert (f (fst c) = snd c)) [(6, 12); (-7, -14)]",
        "let f x = 2 * x", "let f x = x + 4",
    ),
    "tests as bindings": (
        "int -> int",
        'let%test "four" = f 4 = 8\nlet%test_unit _ = [%test_eq: int] (f 2) 4',
        "let f x = 2 * x", "let f x = x + 4",
    ),
    "exceptions": (
        "int -> int",
        "assert (try ignore (f 1); false with Invalid_argument _ -> true)\n"
        "let () = assert_raises (Failure \"two\") (fun () -> f 2)\n"
        "let () = try ignore (f 3); assert false with Not_found -> ()",
        'let f = function 1 -> invalid_arg "x" | 2 -> failwith "two" | _ -> raise Not_found',
        'let f = function 1 -> failwith "x" | 2 -> failwith "three" | x -> x',
    ),
    "an exception of the program": (
        "int -> int", "assert (match f 1 with exception Bad 3 -> true | _ -> false)",
        "exception Bad of int\nlet f _ = raise (Bad 3)",
        "exception Bad of int\nlet f _ = raise (Bad 4)",
    ),
    "boxed integers": (
        "int64 -> int64 * int32", "assert (f 3L = (4L, 5l) && Int64.to_int (fst (f 3L)) = 4)",
        "let f x = (Int64.succ x, 5l)", "let f x = (x, 5l)",
    ),
    "labels": (
        "x:int -> ?y:int -> unit -> int", "assert (succ (f ~x:1 ()) = 3)",
        "let f ~x ?(y = 1) () = x + y", "let f ~x ?(y = 2) () = x + y",
    ),
    "more arguments than five": (
        "int -> int -> int -> int -> int -> int -> int", "assert (f 1 2 3 4 5 6 + 1 = 22)",
        "let f a b c d e g = a + b + c + d + e + g", "let f _ _ _ _ _ _ = 0",
    ),
    "polymorphic": (
        "'a list -> 'a list", 'assert (List.length (f [1]) = 1); assert (List.hd (f ["a"]) = "a")',
        "let f x = x", "let f _ = []",
    ),
    "Exercism": (
        "int -> bool",
        "let ae exp got _test_ctxt = assert_equal exp got ~printer:string_of_bool\n"
        'let tests = ["a" >:: ae false (f 2015); "b" >:: ae true (f 1996)]',
        "let f y = y mod 4 = 0", "let f _ = false",
    ),
}  # fmt: skip


@needs_ocaml
@pytest.mark.parametrize("name", EXECUTED)
def test_right_passes_and_wrong_does_not(sandbox: Sandbox, name: str) -> None:
    signature, text, right, wrong = EXECUTED[name]
    asked = task(signature, text)
    found = verify(sandbox, asked, right)
    assert found.verdict == "pass", found
    found = verify(sandbox, asked, wrong)
    assert found.verdict in ("wrong", "exception") and not all(found.passed), found
    assert "(0 " not in found.message and "f0x" not in found.message


@needs_ocaml
def test_no_file_beside_the_candidate_holds_what_is_expected(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        "let check x y = assert (f x = y)\nlet want = [987]\nlet () = check 1 [987]; check 2 want\n"
        "let () = assert (List.rev (f 3) = want && List.mem (f 4) [want])\n"
        'let () = assert_raises (Failure "987") (fun () -> f 5)'
    )
    seen: list[dict[str, bytes]] = []
    judge = sandbox.judge

    def watched(argv: list[str], files: dict[str, bytes], *rest: object) -> object:
        seen.append(files)
        return judge(argv, files, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(sandbox, "judge", watched)
    asked = task("int -> int list", text)
    right = "let f x = if x = 5 then failwith (string_of_int 987) else [900 + 87]"
    assert verify(sandbox, asked, right).verdict == "pass"
    beside = [files for files in seen if b"900 + 87" in files["sol.ml"]]
    assert beside and not any(b"[987]" in t or b'"987"' in t for f in beside for t in f.values())
    assert any(b"987" in files["drv.ml"] for files in seen)


@needs_ocaml
def test_libraries_are_linked_where_they_are(sandbox: Sandbox) -> None:
    asked = task("string -> string list", 'assert (f "a,b" = ["a"; "b"])')
    split = 'let f s = Str.split (Str.regexp ",") s'
    assert verify(sandbox, asked, split).verdict == "pass"
    timed = "let f s = ignore (Unix.gettimeofday ()); String.split_on_char ',' s"
    assert verify(sandbox, asked, timed).verdict == "pass"
    found = verify(sandbox, asked, 'let f s = Str.split "," s')  # the counter knows them too
    assert found.type_errors == 1, found


@needs_ocaml
def test_sides_of_two_types_are_the_problems_error(sandbox: Sandbox) -> None:
    with pytest.raises(PawlError, match="does not fit"):
        verify(sandbox, task("int -> int list", 'assert (List.length (f 1) = "a")'), "let f _ = []")


@needs_ocaml
def test_messages_are_in_ocamls_syntax(sandbox: Sandbox) -> None:
    rows = [
        ("int -> float", "assert (f 1 = 2.5)", "1.47", "returned 1.47, expected 2.5"),
        ("int -> bool", "assert (f 1 = true)", "false", "returned false, expected true"),
        ("int -> (string * int) option", 'assert (f 1 = None)', 'Some ("a", -2)',
         'returned Some ("a", -2), expected None'),
        ("int -> char list", "assert (List.rev (f 1) = ['a'])", "['b'; 'c']",
         "returned ['c'; 'b'], expected ['a']"),
        ("int -> int", "assert (f 1 <> 2)", "2", "returned 2, expected anything but 2"),
        ("int -> int", "assert (f 1 > 2)", "2", "returned 2, expected > 2"),
        ("int -> unit", "assert_raises Not_found (fun () -> f 1)", "()",
         "returned (), expected it to raise Not_found"),
    ]  # fmt: skip
    for signature, text, value, told in rows:
        found = verify(sandbox, task(signature, text), f"let f _ = {value}")
        assert found.message.startswith(told), found.message


@needs_ocaml
def test_an_expression_is_told_by_what_it_comes_to(sandbox: Sandbox) -> None:
    rows = [
        ("int -> int", "let n = 70 in assert (f 1 = n + 7)", "76", "returned 76, expected 77,"),
        ("int -> int list", "let w = [1; 2] in assert (f 1 = List.rev w)", "[]",
         "returned [], expected [2; 1],"),
        ("int -> string", 'assert (List.mem (f 1) ["a" ^ "b"; "c"])', '"d"',
         'returned "d", expected one of ["ab"; "c"],'),
        ("int -> int", "let two = 2 in assert (f 1 + 1 = two + 1)", "5",
         "returned 6, expected 3,"),
    ]  # fmt: skip
    for signature, text, value, told in rows:
        found = verify(sandbox, task(signature, text), f"let f _ = {value}")
        assert found.message.startswith(told), found.message


@needs_ocaml
def test_what_does_not_define_the_name_is_told_so(sandbox: Sandbox) -> None:
    asked = task("int -> int", "assert (f 1 = 2)")
    for text in ("", "  \n"):
        found = verify(sandbox, asked, text)
        assert (found.verdict, found.message) == ("compile", "nothing to compile")
    for text in ("(* later *)", "let g x = x"):
        assert verify(sandbox, asked, text).message == "no f in it"


@pytest.mark.parametrize(
    ("dump", "of", "start"),
    [
        ('s"' + "ab (c " * 9000 + '"', "string", '"ab (c ab (c '),
        ('(0 s"x" s"' + '\\"y' * 9000 + '")', "string * string", '("x", "\\"y\\"y'),
        ("(0 i1 " * 9000 + "i0" + ")" * 9000, "int list", "[1; 1; 1; "),
        ("(0" + " i-12" * 9000 + ")", "int array", "[|-12; -12; "),
        ("((" * 9000, "int", "a value of 18000 characters"),
    ],
)
def test_the_start_of_a_long_value_is_shown_in_ocamls_syntax(
    dump: str, of: str, start: str
) -> None:
    told = shown(dump, kind(of))
    assert told.startswith(start) and "(0 " not in told and 's"' not in told


def test_a_constant_that_answers_one_comparison_need_not_answer_another() -> None:
    asked = task("int -> int", "assert (f 1 = 2); assert (f 2 <> 2); assert (f 3 <> 2)")
    assert best_constant(asked) == 2


SHOWN = [
    ("i1", "bool", "true"), ("i0", "unit", "()"), ("i-2", "int", "-2"), ("i99", "char", "'c'"),
    ("i10", "char", "'\\n'"), ("f0x1.8p+0", "float", "1.5"), ("f0x1p+0", "float", "1."),
    ("fnan", "float", "nan"), ("f-infinity", "float", "neg_infinity"),
    ('s"a\\n"', "string", '"a\\n"'),
    ("(0 i1 (0 i2 i0))", "int list", "[1; 2]"), ("i0", "int list", "[]"),
    ("i0", "'a option", "None"),
    ("(0 i-3)", "int option", "Some (-3)"), ('(0 s"a" i2)', "string * int", '("a", 2)'),
    ("[ f0x1p+0 f0x1p+1]", "float array", "[|1.; 2.|]"), ("(0)", "int array", "[||]"),
    ("(0 i1 i0)", "bool array", "[|true; false|]"), ("(0 i1)", "(int, string) result", "Ok 1"),
    ('(1 s"x")', "(int, string) result", 'Error "x"'), ("L5", "int64", "5L"),
    ("l-5", "int32", "-5l"),
    ("(0 (0 i1) i0)", "bool option list", "[Some true]"), ("n5", "nativeint", "5n"),
    ("(0 (0 i1 (0 i2 i0)) i0)", "int list list", "[[1; 2]]"), ("(0 i3)", "int ref", "ref 3"),
    ("i1", "colour", "1"), ("(1 i5)", "shape", "#1(5)"), ("(0 i1 i0)", "", "(1, 0)"),
    ("(0 i1 (0 i2 i0))", "", "[1; 2]"), ("i1", "", "1"),
    ("(0 (0 i1 i0) i0)", "(int * bool) list", "[(1, false)]"), ("no dump", "int", "no dump"),
]  # fmt: skip


@pytest.mark.parametrize(("dump", "of", "text"), SHOWN)
def test_values_are_shown_as_they_are_written(dump: str, of: str, text: str) -> None:
    assert shown(dump, kind(of)) == text


@pytest.mark.parametrize(
    ("text", "of"),
    [
        ("[1; 2]", "int list"), ("Some (-3)", "int option"), ('("a", 2.5)', "string * float"),
        ("[|true|]", "bool array"), ("()", "unit"), ("'c'", "char"), ("[[]; [1]]", "int list list"),
        ("1e-3", "float"), ("3L", "int64"), ("0xe1", "int"), ("g 3", ""), ("[1", ""), ("", ""),
        ("[None; Some 'a']", "char option list"), ("1 + 2", ""),
        ("Ok [1]", "(int list, 'a) result"),
    ],
)  # fmt: skip
def test_the_type_of_a_literal(text: str, of: str) -> None:
    assert literal_kind(text) == kind(of)


@given(st.floats())
def test_floats_are_shown_so_that_they_are_read_back(value: float) -> None:
    text = float_text(value)
    assert repr(float(text.replace("neg_infinity", "-inf").replace("infinity", "inf"))) == repr(
        value
    )
    assert value != value or value in (float("inf"), -float("inf")) or "." in text or "e" in text


KINDS = [
    "",
    "int",
    "bool list",
    "(string * 'a) option",
    "float array",
    "char",
    "((",
    "* *",
    "a b c",
]
COMPARES = ["==", "!=", "<", "<=", ">", ">=", "in", "not in"]


@settings(max_examples=300, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    noise=st.text(alphabet="()[] 0123isflLn\"\\.-x'", max_size=80),
    of=st.sampled_from(KINDS),
    compare=st.sampled_from(COMPARES),
)
def test_any_text_is_shown_and_compared(seed: int, noise: str, of: str, compare: str) -> None:
    rng = random.Random(seed)
    dump = rng.choice(DUMPS)
    at = rng.randrange(len(dump) + 1)
    for text in (noise, dump[:at] + noise + dump[at:], message(rng, "ocaml").decode("latin-1")):
        assert isinstance(shown(text, kind(of)), str)
        assert isinstance(shown(text, literal_kind(noise)), str)
        assert isinstance(raised(text, noise), bool)
        case = Case("f 1", noise, compare=compare)  # type: ignore[arg-type]
        assert stands(text, dump, case) in (True, False, None)
        assert isinstance(OCaml("f", of).shown(text, case), str)


@pytest.mark.parametrize("text", ["(0 " * 50_000, "(0 i1 " * 50_000, "[" * 50_000, 's"' * 9_000])
def test_long_and_deep_texts_are_bounded(text: str) -> None:
    assert len(shown(text, kind("int list list"))) < 200_000
    assert stands(text, "i1", Case("f 1", "1", compare="!=")) in (True, None)
    assert stands(text, text, Case("f 1", "1", compare="in")) in (True, False, None)


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("f 1", True), ("f (-1) [2; 3] \"a) + \"", True), ("f ~x:(1 + 2) ?y ()", True),
        ("f ' '", True), ("f r.x !y", True), ("f 1 + 2", False), ("g (f 1)", False),
        ("(f 1)", False), ("f 1 |> g", False), ("f x :: []", False), ("f' 1", False),
        ("f 1 mod 2", False), ("f {|a + b|} {x = 1}", True), ("", False),
    ],
)  # fmt: skip
def test_what_is_one_call(text: str, call: bool) -> None:
    assert is_call(text, "f") is call


@pytest.mark.parametrize(
    ("message", "want", "is_it"),
    [
        ("Not_found", "Not_found", True), ("Not_found", "Stdlib.Not_found", True),
        ('Failure("x")', "Failure", True), ('Failure("x")', 'Failure("x")', True),
        ('Failure("xy")', 'Failure("x")', False), ("Sol.Bad(3)", "Bad(3)", True),
        ("Sol.Bad(3)", "Bad", True), ("Sol.NotBad", "Bad", False), ("Stdlib.Exit", "Exit", True),
        ("Stdlib.Queue.Empty", "Queue.Empty", True), ("Stdlib.Queue.Empty", "Stack.Empty", False),
        ("anything", "_", True), ('Failure("x")', "Invalid_argument", False),
        ('File "a.ml", line 1, characters 0-1: Assertion failed', "Assert_failure", True),
    ],
)  # fmt: skip
def test_exceptions_are_known_by_what_ocaml_prints(message: str, want: str, is_it: bool) -> None:
    assert raised(message, want) is is_it
