"""What the judge makes of 100,000 random, forged and damaged messages of a candidate's channel.

    python bench/channel.py [N]

Each message is read as it comes from the sandbox, against expected values of many types, in this
process. Prints a table: verdicts, errors (none), the longest CPU time for one message, and the
process's memory. Left out: candidates that write such messages (tests/attacks).
"""

from __future__ import annotations

import os
import platform
import random
import resource
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from channel_messages import judged, message


def main() -> None:
    """Both languages, the same seeds each time."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    print("| language | messages | verdicts | longest | memory |\n|---|---|---|---|---|")
    for lang in ("python", "ocaml"):
        verdicts = Counter[str]()
        longest = 0.0
        for seed in range(n):
            rng = random.Random(seed)
            data = message(rng, lang)
            began = time.process_time()
            verdicts[judged(rng, lang, data).verdict] += 1
            longest = max(longest, time.process_time() - began)
        told = ", ".join(f"{name} {count}" for name, count in verdicts.most_common())
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"| {lang} | {n:,} | {told} | {1000 * longest:.0f} ms | {memory:.0f} MB |")


if __name__ == "__main__":
    main()
