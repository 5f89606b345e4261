"""The outer world of a run: clocks, dice, a thread for blocking work, the network, and the register of runs."""

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
"""Which start of the machine this is (random(4))."""


class Executor(Protocol):
    """Where blocking work runs: a worker thread in life, inline on virtual time."""

    async def __call__(self, work: Callable[[], T]) -> T:
        """Run it to its end; it is not abandoned on cancellation."""
        ...


async def in_thread(work: Callable[[], T]) -> T:
    """The executor of real life."""
    return await anyio.to_thread.run_sync(work)


@dataclass(frozen=True, slots=True)
class Runtime:
    """The outer world as arguments, so that tests can be the world."""

    clock: Clock
    rng: Callable[[], float]
    executor: Executor
    transport: Callable[[Settings], AbstractAsyncContextManager[Transport]]
    state_folder: Path | None = None
    """Where runs know of each other; None for nowhere."""


def real_runtime(state_folder: Path | None) -> Runtime:
    """The clock, the dice, a worker thread, and HTTP. Call it within a running event loop."""
    now = asyncio.get_running_loop().time  # what anyio.current_time() finds out anew at every call
    return Runtime(real_clock(now), random.random, in_thread, _http, state_folder)


def real_clock(now: Callable[[], float] = time.monotonic) -> Clock:
    """The clocks of this machine; the one place where they are read. The wall clock is looked at anew each time."""
    try:
        boot_id = _BOOT_ID.read_text("ascii").strip()
    except OSError:  # not Linux
        return Clock(now, time.time)  # noqa: TID251 — here
    return Clock(now, time.time, partial(time.clock_gettime, time.CLOCK_BOOTTIME), boot_id)  # noqa: TID251 — and here


def _http(settings: Settings) -> AbstractAsyncContextManager[Transport]:
    target = settings.target
    if target.insecure:
        _log.warning("target.insecure: nobody verifies who answers at %s, and whoever does gets the token", target.url)
    return HttpTransport(target.timeout_seconds, trust_of(settings), proxy_of(settings))


def trust_of(settings: Settings) -> Trust:
    """How the settings want a target to prove who it is."""
    target = settings.target
    return Trust(target.ca_file, target.tls_fingerprint, target.insecure, target.client_cert, target.client_key)


def proxy_of(settings: Settings) -> Proxy | None:
    """Through whom the settings, or else the environment of this machine, want the target to be reached.

    Raises:
        ConfigurationError: When that is no proxy that can be used.

    """
    target = settings.target
    url = create(target.kind, target.url, target.env).url
    return proxy_for(url, target.proxy, proxy_credentials(settings.auth, os.environ), os.environ)


def way_of(settings: Settings, peer: str = "") -> dict[str, str]:
    """How the target is reached, for people: who answers, through whom, and what proves either end."""
    target, proxy = settings.target, proxy_of(settings)
    if create(target.kind, target.url, target.env).url.startswith("http:"):
        trust = "nothing: it is not encrypted"
    elif target.tls_fingerprint:
        trust = "the certificate with target.tls_fingerprint"
    elif target.insecure:
        trust = "anybody (target.insecure)"
    else:
        trust = f"the authorities of {target.ca_file or system_authorities()}"
    return {
        "address": peer,
        "proxy": "" if proxy is None else str(proxy),
        "trusts": trust,
        "client_certificate": target.client_cert,
    }
