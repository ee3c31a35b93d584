"""Completions and failure groups as lines for a person. Left out: choosing them (`pawl.store`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pawl.cli.show import harmless, indented
from pawl.store.samples import FailureGroup, Row, score_of, stage, total


def sample_lines(rows: Sequence[Row], limit: int) -> list[str]:
    """Each completion: a head line, the breakdown of its score, prompt and text."""
    shown = rows[:limit] if limit else rows
    lines = [line for row in shown for line in _sample(row)]
    if not rows:
        lines.append("no samples match")
    elif len(shown) < len(rows):
        lines.append(f"{len(shown)} of {len(rows)} samples; --limit 0 shows all")
    return lines


def _sample(row: Row) -> list[str]:
    score = score_of(row)
    worth = total(row)
    head = f"step {row['step']}  {row['problem_id']}  group {row['group']} member {row['member']}"
    head += "  total missing" if worth is None else f"  total {worth:.3f}"
    by = score.get("reward_stage") or score.get("paid_by")  # the older name
    weights = f", weights of stage {by}" if by else ""
    head += f"  {stage(row)}  ({score.get('branch')}{weights})"
    advantage = row.get("advantage")
    head += f"  advantage {advantage:+.3f}" if isinstance(advantage, int | float) else ""
    head += f"  {row.get('n_tokens')} tokens, {row.get('finish')}"
    parts = score.get("components")
    detail = f"tests {score.get('passed_cases')}/{score.get('n_cases')}"
    if isinstance(parts, Mapping):
        detail += "".join(f"  {name} {value:.2f}" for name, value in parts.items())
    detail += f"  graded: {score['reading']}" if score.get("reading") else ""
    lines = [harmless(head), f"  {harmless(detail)}"]
    if score.get("reason"):
        lines += ["  reason", indented(str(score["reason"]))]
    return [
        *lines,
        "  prompt",
        indented(str(row["prompt"])),
        "  completion",
        indented(str(row["text"])),
        "",
    ]


def failure_lines(groups: Sequence[FailureGroup], n: int, limit: int) -> list[str]:
    """Each group of failures: count, share, stage, difficulty, message, and one completion."""
    failed = sum(g.count for g in groups)
    lines = [f"{failed} of {n} completions failed, in {len(groups)} groups"]
    shown = groups[:limit] if limit else groups
    for g in shown:
        message = harmless(g.message) or "(no message)"
        lines.append(
            f"{g.count:6d} {g.share:6.1%}  {g.stage}  difficulty {g.difficulty}  {message}"
        )
        said = harmless(str(score_of(g.example).get("reason") or ""))
        told = f": {said}" if said and said != message else ""
        lines.append(f"  for example {harmless(str(g.example['problem_id']))}{told}")
        lines += [indented(str(g.example["text"])), ""]
    if len(shown) < len(groups):
        lines.append(f"{len(shown)} of {len(groups)} groups; --limit 0 shows all")
    return lines
