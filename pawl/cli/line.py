"""The step line, the epoch row and the evaluation line: records to one line of text each.

Pure functions of records; a metric that was not measured is left out of the line, never shown as
a number. Left out: terminals (`display`).
"""

from __future__ import annotations

from collections.abc import Mapping

Record = Mapping[str, object]
PLUS_MINUS = "\u00b1"
NOT_COMPONENTS = (
    "reward/mean", "reward/mean_se", "reward/std", "reward/within_std", "reward/between_std",
    "reward/within_share", "reward/best_of_n", "reward/best_of_n_se", "reward/trained_mean",
    "reward/mean_low",
)  # fmt: skip
PHASES = {"generate_s": "rollout", "score_wait_s": "scores", "update_s": "update"}
EPOCH_COLUMNS = (  # title, width, metric, its format; "" for one that is shown with its error
    ("epoch", 7, "epoch", ".2f"),
    ("reward", 10, "epoch/reward_mean", ""),
    ("best of N", 10, "epoch/best_of_n", ""),
    ("loss", 9, "epoch/loss", ".3g"),
    ("held-out", 9, "eval/success", ".2f"),
    ("samples", 8, "epoch/samples", ".0f"),
    ("tokens", 8, "epoch/tokens", ".0f"),
    ("gain/1k", 8, "epoch/gain_per_1000_samples", "+.3f"),
)
EPOCH_HEAD = " ".join(f"{title:>{width}}" for title, width, _, _ in EPOCH_COLUMNS) + "  time"


def number(record: Record, name: str) -> float | None:
    """A metric of a record, looked up under `host` too; None when it was not measured."""
    host = record.get("host")
    value = record.get(name, host.get(name) if isinstance(host, Mapping) else None)
    return float(value) if isinstance(value, int | float) and value is not True else None


def seconds(value: float) -> str:
    """A duration in its best unit: "12.3s", "53m", "2h05m"."""
    if value < 60:
        return f"{value:.1f}s"
    if value < 3600:
        return f"{value / 60:.0f}m"
    return f"{int(value // 3600)}h{int(value % 3600 // 60):02d}m"


def amount(value: float) -> str:
    """A count in three digits: "214", "3.1k", "2.4M"."""
    for limit, sign in ((1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.1f}{sign}"
    return f"{value:.0f}"


def with_error(record: Record, name: str) -> str | None:
    """`0.41+-0.02` of a metric and its standard error, None when it was not measured."""
    value, spread = number(record, name), number(record, f"{name}_se")
    if value is None:
        return None
    return f"{value:.2f}" + (f"{PLUS_MINUS}{spread:.2f}" if spread is not None else "")


def step_line(record: Record, total: int, before: Record | None, eta: float | None) -> str:
    """One line for one step; `before` is the step before it, for the change of the reward."""
    head = f"step {record['step']}/{total}"
    epoch, took = number(record, "epoch"), number(record, "time/step_s")
    head += f"  epoch {epoch:.2f}" if epoch is not None else ""
    head += f"  {seconds(took)}" if took is not None else ""
    head += f"  eta {seconds(eta)}" if eta is not None else ""
    parts = [head, _reward(record, before)]
    formats = (
        ("pass", "verifier/pass_frac", "{:.0%}"),
        ("loss", "loss/total", "{:.3g}"),
        ("lr", "optim/lr", "{:.1e}"),
        ("entropy", "policy/entropy", "{:.2f}"),
        ("kl", "policy/kl_ref", "{:.3f}"),
        ("zero-std", "group/zero_std_frac", "{:.0%}"),
        ("kept", "filter/kept_frac", "{:.0%}"),
        ("grad", "optim/grad_norm", "{:.2g}"),
        ("len", "length/mean", "{:.0f}"),
    )
    for label, name, form in formats:
        value = number(record, name)
        if value is not None:
            parts.append(f"{label} {form.format(value)}")
    speed = number(record, "speed/tokens_per_s")
    if speed is not None:
        parts.append(f"{amount(speed)} tok/s")
    parts += [_waiting(record), _state(record)]
    return " | ".join(part for part in parts if part)


def _reward(record: Record, before: Record | None) -> str:
    shown = with_error(record, "reward/mean")
    if shown is None:
        return "reward missing"
    now, old = number(record, "reward/mean"), number(before or {}, "reward/mean")
    change = f" ({now - old:+.2f})" if now is not None and old is not None else ""
    names = [k for k in record if k.startswith("reward/") and k not in NOT_COMPONENTS]
    values = {name.removeprefix("reward/"): number(record, name) for name in names}
    own = [k.removeprefix("component/") for k in record if k.startswith("component/")]
    for name in own:  # a mix's parts, without what each of them is made of
        if not any(name.startswith(f"{other}_") for other in own):
            values[name] = number(record, f"component/{name}")
    parts = [f"{name} {value:.2f}" for name, value in values.items() if value is not None]
    return f"reward {shown}{change}" + (f" [{', '.join(parts)}]" if parts else "")


def _waiting(record: Record) -> str:
    """The phase that took most of the step, and its share."""
    took = number(record, "time/step_s")
    times = {label: number(record, f"time/{name}") or 0.0 for name, label in PHASES.items()}
    if not took or not any(times.values()):
        return ""
    longest = max(times, key=lambda label: times[label])
    return f"waiting: {longest} {min(1.0, times[longest] / took):.0%}"


def _state(record: Record) -> str:
    lost = number(record, "verifier/missing_frac")
    if number(record, "filter/emptied"):
        return "NOTHING TRAINED: no sample passes algo.filter"
    state = f"{lost:.0%} of scores missing" if lost else "ok"
    return f"{state}, simulated teacher" if number(record, "judge/simulated_frac") else state


def eval_line(record: Record) -> str:
    """One line for one held-out evaluation."""
    passing = number(record, "eval/pass_at_1") is not None
    name = "eval/pass_at_1" if passing else "eval/success"
    shown = with_error(record, name) or "missing"
    line = f"eval at step {record['step']}: held-out {'pass@1' if passing else 'success'} {shown}"
    gain, low, high = (number(record, f"eval/{n}") for n in ("gain", "gain_low", "gain_high"))
    if record["step"] and gain is not None and low is not None and high is not None:
        line += f", gain {gain:+.2f} [{low:+.2f}, {high:+.2f}]"
    greedy, n = number(record, "eval/greedy_success"), number(record, "eval/problems")
    line += f", greedy {greedy:.2f}" if greedy is not None else ""
    return line + (f" (n={n:.0f})" if n is not None else "")


def epoch_row(record: Record) -> str:
    """One row under EPOCH_HEAD."""
    cells = (f"{_cell(record, name, form):>{width}}" for _, width, name, form in EPOCH_COLUMNS)
    phases = {**PHASES, "eval_s": "eval"}.items()
    times = {label: number(record, f"epoch/{name}") for name, label in phases}
    spent = ", ".join(f"{label} {seconds(t)}" for label, t in times.items() if t)
    read, written, usd = (
        number(record, f"epoch/judge_{n}") for n in ("input_tokens", "output_tokens", "usd")
    )
    if read is not None and written is not None and usd is not None:
        spent += f", judge {amount(read)} tokens in, {amount(written)} out, ${usd:.2f}"
    return " ".join(cells) + f"  {spent}"


def _cell(record: Record, name: str, form: str) -> str:
    if not form:
        return with_error(record, name) or "-"
    value = number(record, name)
    return "-" if value is None else format(value, form)
