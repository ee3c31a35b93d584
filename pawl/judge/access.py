"""Where a judge may be reached and with which key: nothing else may leave this machine.

A `base_url` in a config that somebody sent is a way to steal a key, so only the providers' own
servers and this machine are allowed without a flag, the key of a provider goes to that provider
alone, and a hosted judge needs its terms acknowledged. Keys come from the environment and are put
into no message. Left out: sending (`transport.py`).
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from pawl.config.judge import JudgeConfig
from pawl.errors import PawlError

# Host, base URL and key of the provider behind each API.
ANTHROPIC = ("api.anthropic.com", "https://api.anthropic.com", "ANTHROPIC_API_KEY")
OPENAI = ("api.openai.com", "https://api.openai.com/v1", "OPENAI_API_KEY")
PROVIDERS = {"messages": ANTHROPIC, "chat": OPENAI, "responses": OPENAI, "decisions": OPENAI}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A judge's server. official: the provider's own. key: never shown."""

    base_url: str
    official: bool
    loopback: bool
    key: str = field(default="", repr=False)


def here(fingerprint: str) -> Endpoint:
    """The place of a model on this machine."""
    return Endpoint(f"local {fingerprint}", official=False, loopback=True)


def is_loopback(host: str) -> bool:
    """Whether a host name means this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def endpoint(cfg: JudgeConfig, environ: Mapping[str, str] | None = None) -> Endpoint:
    """The server of a judge with its key. Raises PawlError for what is not allowed.

    environ: the variables that keys come from, os.environ by default.
    """
    assert cfg.api != "local", "a local judge has no server"
    host, default_url, default_env = PROVIDERS[cfg.api]
    where = "judge.base_url"
    base_url = cfg.base_url or default_url
    try:
        url = urlsplit(base_url)
        port = url.port
    except ValueError as e:
        raise PawlError("judge.base_url is no address", where) from e
    # The address may hold a password: it is not shown.
    if url.scheme not in ("http", "https") or not url.hostname or base_url.strip() != base_url:
        raise PawlError("judge.base_url is no http or https address", where)
    if url.username is not None or url.password is not None or url.query or url.fragment:
        hint = "keys come from the environment variable that judge.key_env names"
        raise PawlError("judge.base_url holds more than a server and a path", where, hint)
    loopback = is_loopback(url.hostname)
    official = url.hostname == host and url.scheme == "https" and port in (None, 443)
    if not (official or loopback or cfg.allow_base_url):
        hint = f"leave it empty for {default_url}, or set judge.allow_base_url: true"
        raise PawlError(f"{url.hostname} is not the provider's server", where, hint)
    if not loopback and not cfg.terms_acknowledged:
        raise PawlError(
            f"a judge at {url.hostname} needs the provider's terms acknowledged",
            "judge.terms_acknowledged",
            "some providers forbid training on their answers: read the terms, then set it to true",
        )
    if url.scheme == "http" and not loopback:
        raise PawlError("a judge on another machine needs https", where)
    env = cfg.key_env or (default_env if official else "")
    return Endpoint(base_url, official, loopback, _key(env, environ) if env else "")


def _key(name: str, environ: Mapping[str, str] | None) -> str:
    """A key from the environment; only the name of its variable is ever shown."""
    key = (os.environ if environ is None else environ).get(name, "")
    if not key:
        raise PawlError(f"{name} holds no key", "judge.key_env", f"export {name}=...")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise PawlError(f"{name} holds characters that no key has", "judge.key_env")
    return key
