"""How many claims of hand-written analyses the claim check answers as it should.

    python -m bench.claims [SHARED]

SHARED holds `ancestors/` (five documents) and `runs/` (the logs behind them). FALSE lists claims
that do not hold, by the number they have in the public notes on these documents, each with the
answer that it must get; TRUE lists statements that the log bears out. A claim counts as answered
when one of the answers at its line has the metric and the verdict; a true statement, when it is
supported and nothing about the same metric in its line is called wrong. Claims that do not speak
of a metric of the run or of its options (memory, caching, API calls) are left out.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from bench.claims_sentences import RUNS as SENTENCE_RUNS
from bench.claims_sentences import SENTENCES
from pawl.doctor.claims import Answer, check
from pawl.doctor.diagnose import diagnose
from pawl.logs.recognise import read_logs

RUNS = {
    "teacher-scored-epoch-3.md": "ancestor_rlaif.json",
    "teacher-scored-epochs-1-4.md": "ancestor_rlaif.json",
    "ocaml-grpo-epoch-0.28.md": "ancestor_ocaml.json",
    "teacher-scored-token-saving.md": "ancestor_rlaif.json",
    "rlhf-ppo-improvement-plan.md": "ancestor_rlhf.json",
}
A, B, C, D, E = RUNS
UN, NO = "unsupported", "wrong"
REWARD, LOSS, KL, LR = "reward/mean", "loss/total", "policy/kl_ref", "optim/lr"
ZERO, ENTROPY, SPREAD = "group/zero_std_frac", "policy/entropy", "reward/within_std"
BEST, ACCURACY = "reward/best_of_n", "preference/accuracy"

FALSE: tuple[tuple[int, str, str, str, str], ...] = (
    (1, A, "at ~35.6% of teacher quality", REWARD, NO),
    (1, A, "student scores average ~0.285", REWARD, NO),
    (2, A, "The model is learning (reward > 0)", REWARD, UN),
    (3, A, "Lower is generally better", LOSS, NO),
    (3, A, "Loss is decreasing, which is good", LOSS, NO),
    (4, A, "Training is stable (not diverging)", LOSS, UN),
    (4, A, "KL penalty is preventing catastrophic forgetting", KL, UN),
    (6, A, "Increase `num_samples_per_prompt` from 2 to 4-8", ZERO, NO),
    (7, A, "temperature: 0.7     # Increase for more exploration", ENTROPY, UN),
    (8, A, "Potential reward increase: 0.3563", REWARD, UN),
    (9, A, "Reward variance**: Lower is better", SPREAD, NO),
    (10, A, "Target threshold**: 0.7", REWARD, UN),
    (11, A, "Reward should plateau near target", REWARD, UN),
    (12, A, "`kl_penalty` (", KL, UN),
    (13, B, "HUGE INSTABILITY", LOSS, UN),
    (13, B, "**DIVERGING**", LOSS, UN),
    (13, B, "**INCREASING**", LOSS, UN),
    (14, B, "**REGRESSION**", REWARD, UN),
    (14, B, "dropped from 0.2804 to 0.2553", REWARD, UN),
    (15, B, "suggests model CAN generate good code", BEST, UN),
    (15, B, "Consistently improving (0.5344", BEST, NO),
    (16, B, "LoRA typically needs lower LR", LR, NO),
    (17, B, "Learning rate may be too high", LR, UN),
    (18, B, "More warmup helps stabilize", LR, UN),
    (19, B, "Large effective batch can cause unstable", "optim/grad_norm", NO),
    (20, B, "KL Penalty Too Low", KL, UN),
    (21, B, "Tighter clipping prevents", "optim/grad_norm", UN),
    (22, B, "Larger batch size = more stable gradients", "optim/grad_norm", NO),
    (23, B, "Only train on samples with reward > 0.3", REWARD, UN),
    (24, B, "Reduces noise from poor samples", REWARD, UN),
    (25, B, "More exploration may help find", ENTROPY, UN),
    (26, B, "Should be monotonically increasing", REWARD, NO),
    (27, B, "Should be < 0.5 after clipping", "optim/grad_norm", NO),
    (28, B, "If loss > 0.5, reduce LR further", LOSS, NO),
    (29, B, "Good exploration, not getting stuck", "group/distinct_frac", UN),
    (30, B, "Current cosine may decay too slowly", LR, UN),
    (31, B, "Model may be memorizing training patterns", "eval/pass_at_1", UN),
    (34, C, "25-50% of generated samples have identical", ZERO, NO),
    (34, C, "less than 10% of prompts have identical samples", ZERO, NO),
    (35, C, "experiencing **mode collapse** with", ZERO, UN),
    (36, C, "**Rationale:** Higher temperature increases output diversity", ENTROPY, UN),
    (37, C, "More samples per prompt improves", ZERO, NO),
    (38, C, "In warmup phase", LR, NO),
    (38, C, "3.55e-6 due to warmup", LR, NO),
    (39, C, "| < 50% of mean |", SPREAD, NO),
    (39, C, "**Healthy range:** < 0.30 (30%)", "", NO),
    (40, C, "Unstable learning signal", SPREAD, NO),
    (41, C, "**Healthy range:** 0.10-0.20 for code", ENTROPY, NO),
    (42, C, "High entropy (0.217)", ENTROPY, NO),
    (42, C, "Low entropy (0.045)", ENTROPY, UN),
    (43, C, "Getting ~5-15%", "component/*", UN),
    (44, C, "Rewards: 0.15", REWARD, UN),
    (46, C, "Mean reward still < 0.15", REWARD, UN),
    (47, C, "The reward structure appears sound", REWARD, UN),
    (48, C, "might be getting cut off before END", "length/truncated_frac", UN),
    (54, D, "Filters out ~30-50%", "filter/kept_frac", UN),
    (57, D, "Ensures all samples contribute", ZERO, UN),
    (58, D, "focused generations with less variance", SPREAD, UN),
    (59, D, "maximize learning capacity", "optim/update_norm", UN),
    (63, E, "PPO Loss: 0.0000", LOSS, NO),
    (64, E, "KL Divergence: 0.0000", KL, NO),
    (65, E, "barely better than random 50%", ACCURACY, NO),
    (66, E, "**Negative Rewards**", "preference/chosen_reward", NO),
    (66, E, "should be calibrated", "preference/chosen_reward", NO),
    (67, E, "0.09 difference is very small", "preference/margin", UN),
    (68, E, "may not be differentiable", REWARD, NO),
    (69, E, "Preference Accuracy: 0.0000", ACCURACY, NO),
    (70, E, "Single epoch insufficient", REWARD, UN),
    (70, E, "125M parameters may be too small", REWARD, UN),
    (71, E, "'no_repeat_ngram_size': 3", "length/repetition_frac", NO),
    (75, E, "**PPO Effectiveness**", "", UN),
    (76, E, "PPO loss > 0.001", LOSS, NO),
    (77, E, "chosen_rewards - rejected_rewards + margin", "preference/margin", NO),
    (78, E, "KL divergence 0.1-0.5 range", KL, NO),
    (80, E, "No crashes, consistent runs", "", UN),
)
TRUE: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (B, "| **Average Reward** |", (REWARD,)),
    (B, "| **Best-of-N Reward** |", (BEST,)),
    (B, "| **Average Loss** |", (LOSS,)),
    (B, "| **Time per Epoch** |", ("time/step_s",)),
    (B, "| **Code Diversity** |", ("group/distinct_frac",)),
    (B, "(+94.6%)", (LOSS,)),
    (B, "(+25.9%)", (LOSS,)),
    (B, "Average reward dropped from", (REWARD,)),
    (B, "Only +2.2%", (REWARD,)),
    (B, "+5.3% improvement", (REWARD,)),
    (C, "loss=-0.0469", (LOSS, "optim/grad_norm", LR, REWARD, ENTROPY, ZERO)),
    (C, "loss=-0.0109", (LOSS, "optim/grad_norm", LR, REWARD, ENTROPY, ZERO)),
    (C, "| **Learning Rate** |", (LR,)),
    (C, "| **Reward (mean)** |", (REWARD,)),
    (C, "| **frac_zero_std** |", (ZERO,)),
    (E, "**PPO Loss: 0.0000**", (LOSS,)),
    (E, "**KL Divergence: 0.0000**", (KL,)),
    (E, "**Preference Accuracy: 0.0000**", (ACCURACY,)),
    (E, "- 30% preference accuracy", (ACCURACY,)),
    (E, "Both chosen (-0.24)", ("preference/chosen_reward", "preference/rejected_reward")),
    (E, "0.09 difference", ("preference/margin",)),
)


def line_of(text: str, quote: str) -> int:
    """The line (from 1) that holds a quotation; raises ValueError when none does."""
    for number, line in enumerate(text.splitlines(), 1):
        if quote in line:
            return number
    raise ValueError(f"not in the document: {quote}")


def read(shared: Path) -> dict[str, tuple[str, list[Answer]]]:
    """Document -> its text and the answers to its claims."""
    found = {}
    for name, run in RUNS.items():
        text = (shared / "ancestors" / name).read_text(encoding="utf-8")
        log = read_logs(shared / "runs" / run)[0]
        found[name] = text, check(text, diagnose(log))
    return found


def false_claims(answers: dict[str, tuple[str, list[Answer]]]) -> list[tuple[bool, str]]:
    """Whether each claim that does not hold got its answer, and a line that says so."""
    rows = []
    for number, name, quote, metric, verdict in FALSE:
        text, given = answers[name]
        here = [a for a in given if a.line == line_of(text, quote)]
        good = any(a.verdict == verdict and a.metric == metric for a in here)
        got = ", ".join(sorted({f"{a.verdict} ({a.metric})" for a in here})) or "no answer"
        rows.append((good, f"{number:>3} {verdict:<11} {quote[:44]:<44} got {got}"))
    return rows


def true_claims(answers: dict[str, tuple[str, list[Answer]]]) -> list[tuple[bool, str]]:
    """Whether each statement that holds was supported, and a line that says so.

    A table's row counts once for each of its measured cells.
    """
    rows = []
    for name, quote, metrics in TRUE:
        text, given = answers[name]
        at = line_of(text, quote)
        for metric in metrics:
            here = [a for a in given if a.line == at and a.metric == metric]
            cells = [a for a in here if ", Epoch " in a.claim or ", Range" in a.claim]
            for one in cells or [None]:
                good = (
                    one.verdict == "supported"
                    if one is not None
                    else any(a.verdict == "supported" for a in here)
                )
                rows.append((good, f"{metric:<26} {(one.claim if one else quote)[:60]}"))
    return rows


def sentences(shared: Path) -> list[tuple[bool, str]]:
    """Whether each sentence in other words got one of its answers, and a line that says so.

    A true one must not be called wrong as well, a false one not be supported alone.
    """
    logs = {key: read_logs(shared / "runs" / name)[0] for key, name in SENTENCE_RUNS.items()}
    of = {key: diagnose(log) for key, log in logs.items()}
    rows = []
    for run, text, expected in SENTENCES:
        got = {a.verdict for a in check(text, of[run])}
        good = bool(got & set(expected)) and not (expected == ("supported",) and "wrong" in got)
        good &= "supported" in expected or got != {"supported"}
        rows.append((good, f"{text[:64]:<64} got {', '.join(sorted(got)) or 'no answer'}"))
    return rows


def main() -> None:
    shared = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[2] / "shared"
    if not (shared / "ancestors").is_dir():
        sys.exit(f"{shared} holds no ancestors/: give the folder that does")
    answers = read(shared)
    for title, rows in (
        ("claims that do not hold", false_claims(answers)),
        ("statements that hold", true_claims(answers)),
        ("sentences in other words", sentences(shared)),
    ):
        for good, text in rows:
            print("ok " if good else "BAD", text)
        count = Counter(good for good, _ in rows)
        print(f"{title}: {count[True]} of {len(rows)} answered as they should\n")


if __name__ == "__main__":
    main()
