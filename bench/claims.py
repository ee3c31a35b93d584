"""How often the claim check is right about analyses that people wrote, by a reader's judgement.

    python -m bench.claims FOLDER

FOLDER holds texts and logs as their authors published them, and `judgements.json`: a list of
answers that were read by hand, each with `log`, `text` (paths in FOLDER), `line`, `metric`,
`claim`, `reason` and `judged`: right, wrong (a wrong answer to a claim about this log), misread
(no such claim) or useless. Answers are made anew; one that is not in the list is printed and
counted as unread. The texts are other people's and not in this repository:
bench/results/claims.md names them.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

from pawl.doctor.claims import Answer, check
from pawl.doctor.diagnose import diagnose
from pawl.logs.recognise import read_logs

WORDS = ("right", "wrong", "misread", "useless", "unread")


def key(answer: Answer) -> tuple[int, str, str, str]:
    """What one answer has in common, read twice."""
    return answer.line, answer.metric, answer.claim, answer.reason


def counts(folder: Path) -> tuple[dict[tuple[str, str], Counter[str]], list[str]]:
    """(text, log) -> how its answers were judged, and a line for each that nobody has read."""
    rows = json.loads((folder / "judgements.json").read_text(encoding="utf-8"))
    judged: dict[tuple[str, str], dict[tuple[int, str, str, str], str]] = {}
    for row in rows:
        known = judged.setdefault((row["text"], row["log"]), {})
        known[row["line"], row["metric"], row["claim"], row["reason"]] = row["judged"]
    found = dict[tuple[str, str], Counter[str]]()
    unread = list[str]()
    for (text, log), known in judged.items():
        diagnosis = diagnose(read_logs(folder / log)[0])
        answers = check((folder / text).read_text(encoding="utf-8"), diagnosis)
        found[text, log] = Counter(known.get(key(one), "unread") for one in answers)
        unread += [
            f"{text}:{one.line} {one.verdict} [{one.metric}] {one.claim}: {one.reason}"
            for one in answers
            if key(one) not in known
        ]
    return found, unread


def main() -> None:
    if len(sys.argv) != 2 or not (Path(sys.argv[1]) / "judgements.json").is_file():
        sys.exit("usage: python -m bench.claims FOLDER (one that holds judgements.json)")
    found, unread = counts(Path(sys.argv[1]))
    print(
        "\n".join([*unread, "", f"| text, log | answers | {' | '.join(WORDS)} |", "|---" * 7 + "|"])
    )
    rows = {", ".join(run): count for run, count in found.items()}
    rows["all"] = sum(found.values(), Counter())
    for name, count in rows.items():
        cells = [str(n) for n in (count.total(), *(count[word] for word in WORDS))]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
