"""What all tests share: no socket leaves the machine, and the run does not depend on the caller.

Connections to loopback and UNIX sockets stay possible. Child processes inherit the offline
switches of the model hub; the sandbox cuts its own children off.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
os.environ["OMP_NUM_THREADS"] = "1"  # the models are tiny: two threads only wait for each other
for name in [name for name in os.environ if name.startswith("PAWL_")]:
    del os.environ[name]  # a user's own overrides must not change what is tested


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: at the end no process waits for a long one (scripts/test)."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


def is_local(family: int, address: Any) -> bool:
    """True for UNIX sockets and loopback addresses."""
    if family not in (socket.AF_INET, socket.AF_INET6):
        return True
    host = str(address[0])
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def guarded(real: Callable[..., Any]) -> Callable[..., Any]:
    """The same socket method, refusing any address outside this machine."""

    def method(sock: socket.socket, *args: Any) -> Any:
        if not is_local(sock.family, args[-1]):
            raise PermissionError(f"a test tried to reach {args[-1]!r}; tests stay on loopback")
        return real(sock, *args)

    return method


@pytest.fixture(autouse=True)
def stay_on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse to connect or send anywhere but to this machine, in every test."""
    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, guarded(getattr(socket.socket, name)))


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny random model and its tokenizer."""
    import tiny_models  # late: torch must see the environment set above

    folder = tmp_path_factory.mktemp("model")
    policy = tiny_models.policy()
    policy.model.save_pretrained(folder)  # type: ignore[operator] # a Hugging Face model
    policy.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def sandbox() -> Iterator[object]:
    """The strongest tier that there is, with the default limits but patience."""
    from attack_runner import limits

    from pawl.errors import PawlError
    from pawl.sandbox.tiers import open_sandbox

    try:
        opened = open_sandbox(limits(cpu_s=4.0, wall_s=60.0, memory_mb=1024))
    except PawlError as error:
        pytest.skip(str(error))
    with opened:
        yield opened
