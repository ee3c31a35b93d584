"""What frameworks of RL print: one table of forms, read by one loop; and prime-rl's metrics.jsonl.

OpenRLHF and Molt, prime-rl (trainer and orchestrator, which write several records for a step),
NeMo-RL, open-instruct, slime and miles, SkyRL, ROLL, AReaL. Left out: verl (`read_verl`), which has
files of its own; the TensorBoard and W&B files of the same runs, which carry more and other keys;
files of single samples (train_data_step*.jsonl of NeMo-RL, traces.jsonl of prime-rl); metrics.jsonl
of tinker-cookbook and history.jsonl of ART, plain JSON lines that are recognised by their columns.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

from pawl.logs.console import NUMBER, Printed, entries, lines, opening
from pawl.logs.json_stream import first_objects, object_of
from pawl.logs.json_stream import lines as json_lines
from pawl.logs.names import library_of
from pawl.logs.table import Event, Raw, Row, Table

Lines = Iterator[tuple[str, str, bool]]  # worker, line, whether it is whole
MOST = 400  # lines of one printed dict or table

OPENRLHF_STEP = re.compile(
    r"(?P<sparkle>\u2728\s*)?"
    r"(?:Global step (?P<step>\d+)|global_step (?P<eval>\d+), eval_metrics): (?=\{)"
    r"|(?i:zero policy gradient this step)"
)
# Without the G or g: a pattern that begins with fixed letters is found ten times as fast.
OPENRLHF = re.compile(r"lobal(?: step \d+|_step \d+, eval_metrics): \{[\s\S]?'")
PRIME_STEP = re.compile(r"\bStep (\d+) \|\s+([\d.]+)s \| (?=[A-Z])")
PRIME_CELL = re.compile(rf"([A-Z][A-Za-z. -]*?)\s+({NUMBER})(%?)(?:\s|$)")
PRIME_SHARE = re.compile(r"([A-Z][A-Za-z. -]*?)\s+\d+/\d+ \(([\d.]+)%\)")
PRIME = re.compile(PRIME_STEP.pattern + PRIME_CELL.pattern)
NEMO = re.compile(r"^[^\w\n]*(?:Training|Validation) Results:\s*\u2022\s", re.MULTILINE)
NEMO_HEADING = re.compile(
    r"^\W*(Training Results|Validation Results|Timing|Validation Timing):\s*$"
)
NEMO_STEP = re.compile(r"^\s*={3,}[^=]{0,80}\bStep (\d+)(?:/\d+)?[^=]{0,80}={3,}")
NEMO_ITEM = re.compile(
    rf"^\s*[\u2022*-]\s+([A-Za-z][^:\n]{{0,80}}):\s+({NUMBER})\s?(s|%)?(?:\s|$)", re.IGNORECASE
)
NEMO_PLACE = {"Training Results": "", "Validation Results": "validation/"}
PANEL = re.compile("^[ \t]*[\u250c\u250f\u256d][\u2500-\u257f \t]*\\bMetrics\\b", re.MULTILINE)
PANEL_EDGE = re.compile("^\\s*[\u2500-\u257f]")
PANEL_BOTTOM = re.compile("^\\s*[\u2514\u2517\u2570]")
PANEL_GROUP = re.compile(
    "^ ?([A-Za-z]\\w{0,60})\\s{0,99}[\u2502 ]\\s{0,99}(?=[A-Za-z][\\w/.@-]{0,80}:)"
)
PANEL_ITEM = re.compile(rf"([A-Za-z][\w/.@-]{{0,80}}):\s{{0,80}}({NUMBER})(?=\s|$)", re.IGNORECASE)
BAR = re.compile("[\u2502\u2503|]")
SLIME = re.compile(r"\.py:\d+ - (rollout|perf|eval|step|train) (\d+): (?=\{)")
SKYRL_STEP, SKYRL_END = re.compile(r"\bStep (\d+): *$"), re.compile(r"\}\s*$")
SKYRL = re.compile(r"\bStep \d+: *\n.*\n?.*'(?:policy|reward|loss|generate|trainer|timing)/\w")
ROLL = re.compile(r'"actor/\w')
ROLL_WORDS = re.compile(r'"(?:actor|critic|system|time|token)/\w')
AREAL = re.compile(r"Epoch \d+/\d+ Step \d+/\d+ Train step (\d+)/\d+ done\.")
AREAL_NAME = re.compile(r"[A-Za-z][\w/.@-]*")
AREAL_VALUE, AREAL_END = re.compile(NUMBER, re.IGNORECASE), re.compile("(?!)")  # no end


def read(path: Path, head: str) -> list[Raw] | None:
    """The steps that a console of one of these shows, or the records of prime-rl's file."""
    text = opening(path, head)
    if not text:
        names = {key for row in islice(first_objects(head), 200) for key in row}
        return [_prime_file(path)] if library_of(names) == "prime" else None
    for form in FORMS:
        if form.shown.search(text):
            raw, printed = Raw(path, form.format, form.library, Table()), Printed()
            for row in form.rows(lines(path), raw, printed):
                raw.table.add(row)
            printed.leave_out(raw, form.rounds)
            if raw.table.n:
                return [raw]
    return None


def _heads(text: Lines, head: re.Pattern[str]) -> Iterator[tuple[re.Match[str], str, bool]]:
    """Each head of a record, the rest of its line, and whether the line is whole."""
    for _, line, ended in text:
        if found := head.search(line):
            yield found, line[found.end() :], ended


def _blocks(
    text: Lines, head: re.Pattern[str], end: re.Pattern[str], most: float = MOST
) -> Iterator[tuple[re.Match[str], list[str], str]]:
    """Each head of a record, the lines after it, and where they end.

    That is at the record's "end", at the next "head", after the "most" lines, or with the "file".
    """
    found, body = None, list[str]()
    for _, line, _ in text:
        if hit := head.search(line):
            if found is not None:
                yield found, body, "head"
            found, body = hit, []
        elif found is not None:
            body.append(line)
            closed = end.search(line) is not None
            if closed or len(body) == most:
                yield found, body, "end" if closed else "most"
                found = None
    if found is not None:
        yield found, body, "file"


def _openrlhf(text: Lines, raw: Raw, printed: Printed) -> Iterator[Row]:
    """`Global step N: {...}` and `global_step N, eval_metrics: {...}`."""
    step = 0
    for found, rest, ended in _heads(text, OPENRLHF_STEP):
        if found["step"] is None and found["eval"] is None:
            raw.events.append(Event(step, "error", found.string.strip()[:200]))
            continue
        row = entries(rest, printed, ended)
        if found["sparkle"]:  # only OpenRLHF begins its lines like this
            raw.format = "console log of OpenRLHF"
        if found["step"]:
            step = int(found["step"])
        else:
            row = {key if key.startswith("eval_") else f"eval_{key}": v for key, v in row.items()}
        yield {**row, "step": int(found["step"] or found["eval"])}
        if not ended and not rest.rstrip().endswith("}"):
            raw.notes.append("the file breaks off in its last record; its last value was left out")


def _prime(text: Lines, raw: Raw, printed: Printed) -> Iterator[Row]:
    """`Step N | 1.5s | Name 0.5 | Name 3.1% | Name 96/128 (75.0%)`; shares stay in percent."""
    for found, rest, ended in _heads(text, PRIME_STEP):
        cells = rest.split(" | ")
        if not ended:
            raw.notes.append("the file breaks off in its last line; its last value was left out")
            cells = cells[:-1]
        row = Row()
        for cell in (" ".join(cell.split()) for cell in cells):
            if item := PRIME_SHARE.match(cell) or PRIME_CELL.match(cell):
                row[item[1]] = printed.number(item[1], item[2])
        if row:
            who = "trainer" if "Loss" in row else "orchestrator"
            yield {"step": int(found[1]), f"{who} s": found[2], **row}


def _prime_file(path: Path) -> Raw:
    """metrics.jsonl. prime-rl drops what is not finite: a gap in a metric may have been NaN."""
    raw = Raw(path, "metrics.jsonl of prime-rl", "prime", Table())
    for row in json_lines(path, raw.notes):
        if "step" in row:
            raw.table.add(row)
    name, columns = "optim/grad_norm", raw.table.columns  # written at every step
    if name in columns and "step" in columns:
        gaps = len(set(columns["step"][1])) - len(columns[name][0])
        if gaps > 0:
            raw.notes.append(
                f"{name} is missing in {gaps} steps; prime-rl drops values that are not finite: "
                "a gap may have been NaN or infinite"
            )
    return raw


def _nemo(text: Lines, raw: Raw, printed: Printed) -> Iterator[Row]:
    """Blocks ("Training Results:", "Timing:") of items; those of a step are one row.

    A block belongs to the step whose heading came last; without headings blocks are counted.
    """
    named, place, steps = False, None, [(0, Row())]
    for _, line, ended in text:
        if start := NEMO_STEP.match(line):
            named, place = True, None
            steps.append((int(start[1]), Row()))
        elif heading := NEMO_HEADING.match(line):
            place = NEMO_PLACE.get(heading[1], "timing/")
            if not named and heading[1] == "Training Results":
                steps.append((steps[-1][0] + 1, Row()))
        elif place is not None and (item := NEMO_ITEM.match(line)):
            if ended:
                name = f"{place}{item[1].strip()}"
                steps[-1][1][name] = printed.number(name, item[2])
            else:
                raw.notes.append("the file breaks off in its last line, which was left out")
        elif line.strip():
            place = None
    yield from ({**row, "step": step} for step, row in steps if row)
    if not named:
        raw.notes.append("no headings of steps: blocks of results were counted")


def _open_instruct(text: Lines, raw: Raw, printed: Printed) -> Iterator[Row]:
    """The Rich panel "Metrics", which wraps its cells; names as W&B has them."""
    raw.notes.append("the panel shows two decimals: small values (KL, learning rate) may read 0")
    framed, count = (one for one in text if PANEL_EDGE.match(one[1])), 0
    for _, shown, ended in _blocks(framed, PANEL, PANEL_BOTTOM, math.inf):
        if ended == "file":
            raw.notes.append("the last panel breaks off and was left out")
        if ended != "end":
            continue
        count += 1
        panel, row = list[tuple[str, str]](), Row()
        for line in shown[:-1]:
            body = line.strip().strip("\u2502\u2503")
            found = PANEL_GROUP.match(body)
            cells = (body[found.end() :] if found else body.strip("\u2502 ")).strip()
            if panel and not found:  # it goes on with the line before
                panel[-1] = (panel[-1][0], f"{panel[-1][1]} {cells}")
            else:
                panel.append((found[1] if found else "", cells))
        for group, cells in panel:
            for item in filter(None, (PANEL_ITEM.search(c.strip()) for c in BAR.split(cells))):
                bare = group in ("", "other") or item[1].startswith(f"{group}/")
                name = item[1] if bare else f"{group}/{item[1]}"
                row[name] = printed.number(name, item[2])
        if row:
            yield {**row, "step": row.get("training_step", row.get("global_step", count))}


def _slime(text: Lines, raw: Raw, printed: Printed) -> Iterator[Row]:
    """`rollout 0: {...}`, `perf 0:` and `eval 0:` count rollouts, `step 0:` counts updates."""
    found = [
        (hit[1] in ("step", "train"), int(hit[2]), entries(rest, printed, ended))
        for hit, rest, ended in _heads(text, SLIME)
    ]
    trained = max((n + 1 for trains, n, _ in found if trains), default=0)
    rolled = max((n + 1 for trains, n, _ in found if not trains), default=0)
    updates = max(1, round(trained / rolled)) if rolled else 1
    for trains, n, row in found:
        yield {**row, "step": n if trains else n * updates}
    if updates > 1:
        raw.notes.append(
            f"{updates} updates a rollout: rollouts stand at the first of their updates"
        )


def _skyrl(text: Lines, raw: Raw, printed: Printed) -> Iterator[Row]:
    """`Step 3:` and a dict over the lines that follow."""
    for found, body, ended in _blocks(text, SKYRL_STEP, SKYRL_END):
        if ended == "head":  # the dict breaks off
            continue
        if row := entries("\n".join(body), printed, ended != "file"):
            yield {**row, "step": int(found[1])}


def _roll(text: Lines, raw: Raw, printed: Printed) -> Iterator[Row]:
    """A line that ends in a JSON object; ROLL's records carry no step, so they are counted."""
    count = 0
    for _, line, _ in text:
        at = line.find('{"')
        if at >= 0 and line.rstrip().endswith("}") and ROLL_WORDS.search(line, at):
            if record := object_of(line[at:]):
                yield {**record, "step": count}
                count += 1


def _areal(text: Lines, raw: Raw, printed: Printed) -> Iterator[Row]:
    """`Train step 3/1000 done.` and the table of names and numbers after it."""
    for found, body, _ in _blocks(text, AREAL, AREAL_END):
        row = Row()
        for line in body:
            for name, value in pairwise(cell.strip() for cell in BAR.split(line)):
                if AREAL_VALUE.fullmatch(value) and AREAL_NAME.fullmatch(name):
                    row[name] = printed.number(name, value)
        if row:
            yield {**row, "step": int(found[1])}


@dataclass(frozen=True, slots=True)
class Form:
    """How a library prints. shown: what its console holds; rounds: every number is rounded."""

    library: str
    format: str
    shown: re.Pattern[str]
    rows: Callable[[Lines, Raw, Printed], Iterator[Row]]
    rounds: bool = False


FORMS = (
    Form("openrlhf", "console log of OpenRLHF or Molt", OPENRLHF, _openrlhf),
    Form("prime", "console log of prime-rl", PRIME, _prime, rounds=True),
    Form("nemo", "console log of NeMo-RL", NEMO, _nemo, rounds=True),
    Form("open_instruct", 'panel "Metrics" of open-instruct', PANEL, _open_instruct, rounds=True),
    Form("slime", "console log of slime or miles", SLIME, _slime),
    Form("areal", "console log of AReaL", AREAL, _areal),
    Form("skyrl", "console log of SkyRL", SKYRL, _skyrl, rounds=True),
    Form("roll", "console log of ROLL", ROLL, _roll),
)
