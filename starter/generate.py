"""Generates the starter sets and the corpus of the bundled model, the same on every machine.

    python -m starter.generate --out pawl/problems/sets      # ocaml.jsonl, python.jsonl
    python -m starter.generate --corpus FILE --n N --seed S  # lines of prompt, completion

A specification is a family with its operations and their arguments. A fixed quarter of them (by
hash) is held out, and so are two whole families; neither the training problems nor the corpus
holds any of these, nor one that behaves like a held-out problem. No two problems of a set agree on
50 shared inputs. Left out: checking the references with a compiler (the tests do that). No torch.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from starter import ocaml, python
from starter.cases import behaviour, choose, illustrate
from starter.families import FAMILIES, Family, Task
from starter.ops import Lang

# Problems of one family: (training, held out) of an ordinary one, and of a held-out family.
SIZES: dict[Lang, tuple[int, int, int]] = {"ocaml": (44, 17, 40), "python": (32, 14, 40)}
SCALE = {"text": 0.7, "join": 0.7, "word": 1.1, "place": 1.3, "range": 0.9}
# Share of the corpus's vague wordings that are read the second way (see families).
SECOND_READING = 0.66
LANGS: tuple[Lang, ...] = ("ocaml", "python")


def reserved(task: Task) -> bool:
    """True for specifications that only held-out problems may use."""
    return task.family.held_out or hashlib.sha256(task.spec.encode()).digest()[0] < 64


def draw(family: Family, rng: random.Random) -> Task:
    """One task of a family, every slot filled at random."""
    return Task(family, tuple(rng.choice(o) for o in family.slots.values()))


@functools.cache
def problems(lang: Lang) -> list[dict[str, Any]]:
    """The rows of one starter set, in file order."""
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    train, held_out, whole = SIZES[lang]
    for family in FAMILIES:
        scale = SCALE.get(family.name, 1.0)
        wanted = {"train": round(train * scale), "held_out": round(held_out * scale)}
        if family.held_out:
            wanted = {"held_out_family": whole}
        for split, count in wanted.items():
            rows += _rows(lang, family, split, count, seen)
    return rows


def _rows(
    lang: Lang, family: Family, split: str, count: int, seen: set[str]
) -> Iterator[dict[str, Any]]:
    rng = random.Random(f"{lang}/{family.name}/{split}")
    made = 0
    for _ in range(count * 400):
        if made == count:
            return
        task = draw(family, rng)
        if reserved(task) == (split == "train"):
            continue
        key = behaviour(task)
        row = None if key in seen else _row(lang, task, split, made, rng)
        if row is not None:
            seen.add(key)
            made += 1
            yield row
    assert made == count, f"{lang} {family.name} {split}: only {made} of {count} problems"


def _row(
    lang: Lang, task: Task, split: str, number: int, rng: random.Random
) -> dict[str, Any] | None:
    """One problem in Pawl's JSONL layout, or None where it has no good tests."""
    chosen = choose(task, lang)
    if chosen is None:
        return None
    shown, hidden = chosen
    writer, run = (ocaml if lang == "ocaml" else python), task.run()
    kinds = [k for _, k in task.family.params]
    cases = []
    for args in hidden:
        literals = [python.literal(a, k) for a, k in zip(args, kinds, strict=True)]
        call = ocaml.call(task, args) if lang == "ocaml" else f"[{', '.join(literals)}]"
        expected = writer.literal(run(*args), task.family.result)
        cases.append({"input": call, "expected": expected, "shown": False})
        if task.family.result == "float":
            cases[-1]["close"] = True
    words = task.family.words(task.slots, rng)
    text = writer.body(task, rng, rng.choice(writer.STYLES))
    return {
        "id": f"{lang}-{task.family.name}-{split.replace('_', '-')}-{number:03d}",
        "lang": lang,
        "prompt": writer.prompt(task, words, [(a, run(*a)) for a in shown]),
        "entry_point": "solve",
        "signature": ocaml.signature(task) if lang == "ocaml" else "",
        "head": writer.head(task),
        "solution": f"{writer.head(task)}\n{text}\n",
        "difficulty": task.difficulty,
        "family": task.family.name,
        "spec": task.spec,
        "tags": [task.family.name, task.family.result],
        "cases": cases,
        "split": split,
    }


@functools.cache
def held_out_behaviours() -> set[str]:
    """Behaviour keys of every held-out problem of both shipped languages."""
    return {
        behaviour(task)
        for lang in LANGS
        for task in (by_spec(row["spec"]) for row in problems(lang) if row["split"] != "train")
    }


def by_spec(spec: str) -> Task:
    """The task that a spec key names."""
    name, *keys = spec.split(" | ")
    family = next(f for f in FAMILIES if f.name == name)
    slots = zip(keys, family.slots.values(), strict=True)
    return Task(family, tuple(_filling(key, options) for key, options in slots))


def _filling(key: str, options: tuple[Any, ...]) -> Any:
    return next(o for o in options if (o.key if o else "-") == key)


def corpus_tasks(count: int, seed: int) -> Iterator[tuple[Task, random.Random]]:
    """Tasks of the corpus, none with a held-out specification or behaviour."""
    rng, banned = random.Random(f"corpus/{seed}"), held_out_behaviours()
    families = [f for f in FAMILIES if not f.held_out]
    made = 0
    while made < count:
        task = draw(rng.choice(families), rng)
        if task.vague and rng.random() < SECOND_READING:
            task = replace(task, second=True)
        if not reserved(task) and behaviour(task) not in banned:
            made += 1
            yield task, rng


def corpus(count: int, seed: int, python_share: float = 0.4) -> Iterator[dict[str, str]]:
    """Examples for the bundled model: prompt and completion, in either language."""
    for task, rng in corpus_tasks(count, seed):
        writer = python if rng.random() < python_share else ocaml
        shown = illustrate(task, rng)
        if not shown:
            continue
        words, run = task.family.words(task.slots, rng), task.run()
        body = writer.body(task, rng, rng.choice(writer.STYLES))
        yield {
            "prompt": writer.prompt(task, words, [(a, run(*a)) for a in shown]),
            "completion": f"{body}\n{writer.END}",
        }


def _write(path: Path, rows: Iterator[dict[str, Any]] | list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")


def main() -> None:
    """The command line; see the top of this file."""
    parser = argparse.ArgumentParser(prog="python -m starter.generate")
    parser.add_argument("--out", type=Path, help="folder for ocaml.jsonl and python.jsonl")
    parser.add_argument("--corpus", type=Path, help="file for the bundled model's examples")
    parser.add_argument("--n", type=int, default=40000, help="examples in the corpus")
    parser.add_argument("--seed", type=int, default=0, help="seed of the corpus")
    args = parser.parse_args()
    if not args.out and not args.corpus:
        parser.error("give --out FOLDER, --corpus FILE or both")
    for lang in LANGS if args.out else ():
        _write(args.out / f"{lang}.jsonl", problems(lang))
    if args.corpus:
        _write(args.corpus, corpus(args.n, args.seed))


if __name__ == "__main__":
    main()
