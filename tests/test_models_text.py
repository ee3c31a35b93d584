"""Prompts: templates, chat, refusals, and the fixed boundary between prompt and completion."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny_families
import tiny_models
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import processors

from pawl.config.sources import PromptConfig
from pawl.errors import PawlError
from pawl.models.text import SHIPPED, PromptEncoder, completion_ids, decode, read_template
from pawl.preflight.samples import turn_ends
from pawl.types import CodeTask, Message, Problem

HEAD = "let f (x : int) : int ="
CODE = CodeTask("ocaml", "f", (), head=HEAD)
PLAIN = Problem("p", f"(* add one *)\n{HEAD}\n", CODE, where="set.jsonl:3")
TURNS = (Message("user", "write f"), Message("assistant", "which?"), Message("user", "any"))
CHAT = Problem("c", "", CODE, TURNS, where="set.jsonl:4")
TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
TOKENIZER = tiny_models.tokenizer()
SENTENCEPIECE = {x: tiny_families.sentencepiece(x) for x in ("prepend", "first", "never")}


def encoder(templated: bool = False, **options: Any) -> PromptEncoder:
    tokenizer = tiny_models.tokenizer()
    if templated:
        tokenizer.chat_template = TEMPLATE
    return PromptEncoder(tokenizer, PromptConfig(**options))


def test_plain_prompt_is_the_problems_own_text() -> None:
    for options in ({}, {"template": "plain"}):
        made = encoder(**options)
        assert made.render(PLAIN) == PLAIN.prompt
        assert decode(made.tokenizer, made.encode(PLAIN)) == PLAIN.prompt


@pytest.mark.parametrize("name", sorted(path.stem for path in SHIPPED.glob("*.txt")))
def test_shipped_templates_end_with_the_prompt(name: str) -> None:
    text = encoder(template=name).render(PLAIN)
    assert text.endswith(PLAIN.prompt)
    assert "{prompt}" not in text


def test_template_of_a_path_fills_its_fields_once(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("{entry_point}|{head}|{prompt}|{signature}|{other}")
    odd = Problem("o", "{head} {x}", CodeTask("ocaml", "f", (), "{prompt}", "H"))
    assert encoder(template=str(path)).render(odd) == "f|H|{head} {x}|{prompt}|{other}"
    text = Problem("t", "Say it.", metadata={"head": "fn f() {", "signature": ["no", "text"]})
    assert encoder(template=str(path)).render(text) == "|fn f() {|Say it.||{other}"


def test_chat_template_is_used_where_there_is_one() -> None:
    made = encoder(True, system="be brief")
    eos = tiny_models.EOS
    assert made.render(PLAIN) == (f"<system>be brief{eos}<user>{PLAIN.prompt}{eos}<assistant>")
    assert made.render(CHAT).endswith(f"<assistant>which?{eos}<user>any{eos}<assistant>")
    assert made.encode(CHAT).count(1) == 4  # the template's EOS became the token


def test_template_inside_chat_wraps_the_last_user_turn(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text("[{prompt}]")
    made = encoder(True, template=str(path))
    assert "<user>[any]" in made.render(CHAT)
    assert "<user>write f" in made.render(CHAT)


def test_chat_messages_need_a_template() -> None:
    with pytest.raises(PawlError, match="no chat template") as caught:
        encoder().encode(CHAT)
    assert caught.value.where == "set.jsonl:4"
    assert "write f" in encoder(template="plain").render(CHAT)
    with pytest.raises(PawlError, match="no chat template"):
        encoder(chat="always")
    never = encoder(True, chat="never")
    assert never.render(PLAIN) == PLAIN.prompt


def test_long_and_empty_prompts_are_refused() -> None:
    with pytest.raises(PawlError, match=r"more than prompt\.max_tokens = 8") as caught:
        encoder(max_tokens=8).encode(PLAIN)
    assert caught.value.where == "set.jsonl:3"
    with pytest.raises(PawlError, match="empty"):
        encoder().encode(Problem("e", "", CODE))


def test_bad_templates_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PawlError, match="cannot read") as caught:
        read_template("few-shot-cobol")
    assert "few-shot-ocaml" in caught.value.hint
    (tmp_path / "t.txt").write_text("nothing to fill")
    with pytest.raises(PawlError, match="has no"):
        read_template(str(tmp_path / "t.txt"))


def test_a_refusing_chat_template_names_the_problem() -> None:
    made = encoder(True)
    made.tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(PawlError, match="roles must alternate") as caught:
        made.encode(CHAT)
    assert caught.value.where == "set.jsonl:4"


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{{ messages[9].content }}", "has no element 9"),
        ("{{ messages[0].content + 1 }}", "TypeError"),
        ("{{ 1 // 0 }}", "ZeroDivisionError"),
        ("{{ messages[0].nothing.more }}", "has no attribute"),
        ("{{ 'x'.encode('no-such-codec') }}", "LookupError"),
    ],
)
def test_whatever_a_chat_template_raises_is_one_message(template: str, told: str) -> None:
    made = encoder(True)
    made.tokenizer.chat_template = template
    with pytest.raises(PawlError) as caught:
        made.encode(CHAT)
    assert told in caught.value.what and "\n" not in caught.value.what
    assert caught.value.where == "set.jsonl:4"


def test_a_chat_template_that_is_no_template_is_refused_at_once() -> None:
    tokenizer = tiny_models.tokenizer()
    tokenizer.chat_template = "{% for m in messages %}"
    with pytest.raises(PawlError, match="chat template cannot be read"):
        PromptEncoder(tokenizer, PromptConfig())


THINKING = (
    "{%- for m in messages %}{% generation %}<{{ m.role }}>{{ m.content }}{% endgeneration %}"
    "{% endfor %}{% if enable_thinking is defined and not enable_thinking %}<off>{% endif %}"
    "<{{ effort | default('low') }}>{% if not day is defined and strftime_now is defined %}"
    "{% set day = strftime_now('%d %b %Y') %}{% endif %}{{ day }}"
)


def thinking(today: str = "", **options: Any) -> PromptEncoder:
    tokenizer = tiny_models.tokenizer()
    tokenizer.chat_template = THINKING
    return PromptEncoder(tokenizer, PromptConfig(**options), today)


def test_template_arguments_reach_the_template() -> None:
    args = {"enable_thinking": False, "effort": "high", "day": "26 Jul 2024"}
    assert thinking(template_args=args).render(PLAIN).endswith("<off><high>26 Jul 2024")
    with pytest.raises(PawlError, match="reads no argument enable_thinkin") as caught:
        thinking(template_args={"enable_thinkin": False})
    assert "day, effort, enable_thinking" in caught.value.hint
    for way in ({"chat": "never"}, {}):  # without a template in use nothing reads them
        with pytest.raises(PawlError, match="reads no argument"):
            encoder(bool(way), template_args={"enable_thinking": False}, **way)
    for name in ("messages", "strftime_now", "bos_token"):
        with pytest.raises(PawlError, match="reads no argument"):
            thinking(template_args={name: "mine"})


def test_today_is_the_days_of_the_run() -> None:
    assert thinking("2026-01-05").render(PLAIN).endswith("<low>05 Jan 2026")
    assert thinking("2026-01-05", date="2025-12-31").render(PLAIN).endswith("31 Dec 2025")
    now = thinking()
    assert now.reads_date and not encoder(True).reads_date
    assert now.render(PLAIN).endswith(now.date.strftime("%d %b %Y"))


def begun(tokenizer: Any, bos: str) -> Any:
    """The tokenizer with a BOS that it puts before text, as Llama's does."""
    tokenizer.bos_token = bos
    number = tokenizer.convert_tokens_to_ids(bos)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, number)]
    )
    return tokenizer


def test_what_a_prompt_lacks_is_counted() -> None:
    asked = Problem("s", "", CODE, (Message("system", "Be  brief."), Message("user", "write f")))
    made = encoder(True, system="Be kind.")
    assert made.form([CHAT, asked]).remarks() == []
    only_users = "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}"
    made.tokenizer.chat_template = only_users
    assert made.form([CHAT, asked])[3:] == (2, 0, "c")
    assert "2 of 2 prompts lack their system message" in made.form([CHAT, asked]).remarks()[0]
    made.tokenizer.chat_template = "{{ messages[0].content }}"
    assert made.form([CHAT, asked])[3:] == (0, 2, "c")  # Be kind. stands there, the user's not

    bos = tiny_models.EOS
    for template, doubled, unopened in [
        ("{{ messages[0].content }}", 0, 1),
        ("{{ bos_token }}{{ messages[0].content }}", 0, 0),
        ("{{ bos_token }}{{ bos_token }}{{ messages[0].content }}", 1, 0),
    ]:
        tokenizer = begun(tiny_models.tokenizer(), bos)
        tokenizer.chat_template = template
        form = PromptEncoder(tokenizer, PromptConfig()).form([CHAT])
        assert (form.doubled, form.unopened) == (doubled, unopened)
        assert len(form.remarks()) == doubled + unopened + form.users
    plain = PromptEncoder(begun(tiny_models.tokenizer(), bos), PromptConfig())
    assert plain.form([PLAIN]).remarks() == []
    assert plain.form([Problem("d", bos + "text", CODE)]).doubled == 1


def test_the_boundary_is_fixed() -> None:
    """Joined, this tokenizer merges the newline and the indentation; apart it never does."""
    body = "  x + 1\n"
    joined = completion_ids(TOKENIZER, [PLAIN.prompt + body])[0]
    apart = [*encoder().encode(PLAIN), *completion_ids(TOKENIZER, [body])[0]]
    assert joined != apart
    assert decode(TOKENIZER, joined) == decode(TOKENIZER, apart) == PLAIN.prompt + body


@given(st.text(max_size=60))
def test_decode_undoes_encode_and_batches_agree(text: str) -> None:
    ids = completion_ids(TOKENIZER, [text, "other"])[0]
    assert ids == completion_ids(TOKENIZER, [text])[0]
    if not any(token in text for token in TOKENIZER.all_special_tokens):
        assert decode(TOKENIZER, ids) == text


@pytest.mark.parametrize("scheme", ["prepend", "first", "never"])
@given(data=st.data())
def test_completions_keep_their_blanks_under_sentencepiece(scheme: str, data: Any) -> None:
    """Text -> tokens -> text is exact, and prompt and completion read as one text."""
    tokenizer = SENTENCEPIECE[scheme]
    lines = st.lists(st.text(alphabet=" abcdef:x=+\n", max_size=12), max_size=3).map("\n".join)
    texts = data.draw(st.lists(lines, min_size=1, max_size=3))
    prompt = tokenizer("def f(x):\n", add_special_tokens=False).input_ids
    start = tokenizer.decode(prompt)
    for text, ids in zip(texts, completion_ids(tokenizer, texts), strict=True):
        assert decode(tokenizer, ids) == text
        assert tokenizer.decode([*prompt, *ids]) == start + text


def test_a_sampled_body_keeps_its_indentation() -> None:
    """Pieces as a model samples them after a prompt's newline, no blank put before them."""
    for tokenizer in SENTENCEPIECE.values():
        ids = tokenizer.convert_tokens_to_ids([*"\u2581\u2581b\n\u2581\u2581a"])
        assert decode(tokenizer, ids) == "  b\n  a"
        assert decode(tokenizer, []) == ""


def test_special_tokens_are_spelt_out_only_when_asked() -> None:
    for tokenizer in SENTENCEPIECE.values():
        end = tokenizer.convert_tokens_to_ids("<|im_end|>")
        ids = [*completion_ids(tokenizer, ["  b a"])[0], end]
        assert decode(tokenizer, ids) == "  b a"
        assert decode(tokenizer, ids, special=True) == "  b a<|im_end|>"


@pytest.mark.parametrize(
    ("template", "stop", "passed"),
    [
        ("{{ m.content }}<|im_end|>\n", (), False),
        ("{{ m.content }}<|im_end|>\n", ("<|im_end|>",), True),
        ("{{ m.content }}</s>", (), True),
        ("{{ m.content }}\n", (), None),
        ("{{ raise_exception('no') }}", (), None),
    ],
)
def test_a_turn_that_ends_in_no_eos_is_said(template: str, stop: Any, passed: Any) -> None:
    tokenizer = tiny_families.sentencepiece("first")
    tokenizer.chat_template = "{% for m in messages %}" + template + "{% endfor %}"
    policy = SimpleNamespace(tokenizer=tokenizer, eos_ids=(tokenizer.eos_token_id,))
    cfg = SimpleNamespace(rollout=SimpleNamespace(stop=stop))
    chatty = SimpleNamespace(chat=True, arguments={})
    session: Any = SimpleNamespace(policy=policy, encoder=chatty, cfg=cfg)
    check = turn_ends(session)
    assert (check.passed, check.refuses) == (passed, False)
    if passed is False:
        assert "<|im_end|>" in check.observed and "</s>" in check.observed
        assert "rollout.stop=['<|im_end|>']" in check.meaning
