"""Opening a sandbox: the strongest tier that proves itself on this machine, or a refusal.

A tier counts only when canary attacks fail in it and controls succeed (`canary.py`); versions and
files say too little. Each refused layer's reason is kept and shown. Left out: running candidates
(`slot.py`), what the tiers are made of (`bubblewrap.py`, `landlock.py`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence

from pawl.errors import PawlError
from pawl.sandbox import canary, landlock
from pawl.sandbox.slot import Limits, Sandbox
from pawl.types import Tier

__all__ = ["Limits", "Sandbox", "open_sandbox", "unavailable"]


def open_sandbox(limits: Limits, refuse: Sequence[str] = (), warm: bool = True) -> Sandbox:
    """The strongest tier that passes its canaries, or the one that `limits.tier` names.

    refuse: tiers to treat as unavailable (for tests). warm: start Python candidates from a fork
    server where the tier has one (bubblewrap) and it passes the canaries too. Raises PawlError
    with each layer's reason when none is left; the unsafe tier (resource limits only) needs
    `allow_unsafe`.
    """
    wanted: list[Tier] = ["bubblewrap", "landlock"]
    if limits.tier != "auto":
        wanted = [limits.tier]
    elif limits.allow_unsafe:
        wanted.append("unsafe")
    reasons: list[str] = []
    for tier in wanted:
        if tier == "unsafe" and not limits.allow_unsafe:
            raise PawlError(
                "the unsafe tier runs candidates with your rights and resource limits only",
                "sandbox.tier",
                "set sandbox.allow_unsafe=true if this machine has nothing to lose",
            )
        reason = "refused by the caller" if tier in refuse else unavailable(tier)
        if not reason:
            for start_warm in (True, False) if warm and tier == "bubblewrap" else (False,):
                sandbox = Sandbox(limits, tier, start_warm)
                sandbox.refused = reasons
                reason = "" if tier == "unsafe" else canary.failure(sandbox)
                if not reason:
                    return sandbox
                sandbox.close()
                reasons.append(f"{tier}{' (fork server)' * start_warm}: {reason}")
            continue
        reasons.append(f"{tier}: {reason}")
    raise PawlError(
        "no sandbox: " + "; ".join(reasons),
        "sandbox.tier",
        "install bubblewrap and allow user namespaces, or run on Linux 6.12 or newer (landlock); "
        "sandbox.allow_unsafe=true runs candidates without isolation",
    )


def unavailable(tier: Tier) -> str:
    """Why a tier cannot even be tried here, "" when it can."""
    if tier == "unsafe":
        return ""
    if landlock.supported():
        return landlock.supported()
    if tier == "bubblewrap":
        return "" if shutil.which("bwrap") else "bwrap is not installed"
    abi = landlock.kernel_abi()
    root = os.getuid() == 0
    needed = landlock.MIN_ABI_DROPPED if root else landlock.MIN_ABI_SAME_UID
    if abi == 0:
        return "the kernel has no landlock, or it is switched off"
    if abi < needed:
        what = "path truncation" if root else "signals to your other processes"
        return f"landlock ABI {abi} does not cover {what} (needs {needed}, Linux 6.12 has 6)"
    return ""
