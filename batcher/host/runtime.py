"""The runtime of a run: clocks, random numbers, a thread for blocking work, the network, and the state folder."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import anyio

from batcher.core.clock import Clock
from batcher.credentials import proxy_credentials
from batcher.settings import Settings
from batcher.targets import create
from batcher.transport import HttpTransport, Transport, Trust
from batcher.transport.protocol import system_authorities
from batcher.transport.proxies import Proxy, proxy_for

_log = logging.getLogger(__name__)
T = TypeVar("T")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""Holds an id that changes with each boot of the machine (random(4))."""


class Executor(Protocol):
    """Where blocking work runs: in a worker thread, or inline in virtual time."""

    async def __call__(self, work: Callable[[], T]) -> T:
        """Run `work` to its end, even if the caller is cancelled; returns its result."""
        ...


async def in_thread(work: Callable[[], T]) -> T:
    """The executor of real runs."""
    return await anyio.to_thread.run_sync(work)


@dataclass(frozen=True, slots=True)
class Runtime:
    """Everything a run needs from the outside, as arguments, so that tests can replace it."""

    clock: Clock
    rng: Callable[[], float]
    executor: Executor
    transport: Callable[[Settings], AbstractAsyncContextManager[Transport]]
    state_folder: Path | None = None
    """The folder through which runs on this host know of each other; None if they do not."""


def real_runtime(state_folder: Path | None) -> Runtime:
    """The runtime of real runs. Call it within a running event loop."""
    now = asyncio.get_running_loop().time  # anyio.current_time() would look this up at every call
    return Runtime(real_clock(now), random.random, in_thread, _http, state_folder)


def real_clock(now: Callable[[], float] = time.monotonic) -> Clock:
    """The clocks of this machine, which are read nowhere else. `now` returns monotonic seconds."""
    try:
        boot_id = _BOOT_ID.read_text("ascii").strip()
    except OSError:  # not Linux
        return Clock(now, time.time)  # noqa: TID251 — here
    return Clock(now, time.time, partial(time.clock_gettime, time.CLOCK_BOOTTIME), boot_id)  # noqa: TID251 — and here


def _http(settings: Settings) -> AbstractAsyncContextManager[Transport]:
    target = settings.target
    if target.insecure:
        _log.warning("target.insecure: the server at %s is not verified; whoever answers gets the token", target.url)
    return HttpTransport(target.timeout_seconds, trust_of(settings), proxy_of(settings))


def trust_of(settings: Settings) -> Trust:
    """How a target's identity is verified under these settings."""
    target = settings.target
    return Trust(target.ca_file, target.tls_fingerprint, target.insecure, target.client_cert, target.client_key)


def proxy_of(settings: Settings) -> Proxy | None:
    """The proxy for the target, from the settings or else from the environment; None for a direct connection.

    Raises:
        ConfigurationError: When the proxy is invalid or cannot be used.

    """
    target = settings.target
    url = create(target.kind, target.url, target.env).url
    return proxy_for(url, target.proxy, proxy_credentials(settings.auth, os.environ), os.environ)


def way_of(settings: Settings, peer: str = "") -> dict[str, str]:
    """How the target is reached, for people: the address that answered, the proxy, and how either end is verified."""
    target, proxy = settings.target, proxy_of(settings)
    if create(target.kind, target.url, target.env).url.startswith("http:"):
        trust = "nothing: the connection is not encrypted"
    elif target.tls_fingerprint:
        trust = "the certificate with target.tls_fingerprint"
    elif target.insecure:
        trust = "any server: it is not verified (target.insecure)"
    else:
        trust = f"the certificate authorities in {target.ca_file or system_authorities()}"
    return {
        "address": peer,
        "proxy": "" if proxy is None else str(proxy),
        "trusts": trust,
        "client_certificate": target.client_cert,
    }
