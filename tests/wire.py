"""Whole runs over real sockets from random seeds, against a peer whose replies are bytes of every kind.

Both clients are tried, that of runs and that of load runs. The peer knows what it has done for each request, and what it
has said; client and peer share one event loop, whose clock jumps to the next timer when neither has anything to do, so
time-outs and back-offs cost nothing. At the end no status may contradict the peer's log, no secret may be anywhere, and
nothing may have been raised or waited for that should not.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import io
import logging
import random
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
from harness import EPOCH, Change, fast_folder, inline, settings_for, write_changes
from processes import LawBrokenError

from batcher.core.clock import Clock
from batcher.core.errors import BatcherError
from batcher.core.report import Report
from batcher.core.status import IN_EFFECT, Status
from batcher.core.target import Credentials
from batcher.delivery.shutdown import Shutdown
from batcher.engine.jobs.apply import apply
from batcher.engine.jobs.context import RunContext
from batcher.engine.jobs.resume import resume
from batcher.engine.jobs.retry import retry
from batcher.host.runtime import Runtime
from batcher.ledger.reader import LedgerReader
from batcher.ledger.verify import differences
from batcher.load.connection import Connections
from batcher.settings import Settings
from batcher.simulator.behaviour import Behaviour
from batcher.simulator.messages import Arrival, Reply
from batcher.simulator.virtual_time import run_virtual
from batcher.simulator.world import World
from batcher.transport import HttpTransport, Trust

TLS = Path(__file__).parent / "tls"
TOKEN = "wire-t0ken/with+every=kind-of.character"
TIMEOUT = 5.0
_LONGEST = 50_000.0
"""How many virtual seconds a run may take."""
_SOON = 60.0
_HANG = 1e6
Step = tuple[float, bytes | None]
"""After so many seconds these bytes are sent; None ends the connection."""


def encodings(token: str) -> list[bytes]:
    """How a server may send a token back."""
    raw = token.encode()
    return [
        raw,
        base64.b64encode(raw),
        base64.urlsafe_b64encode(raw),
        raw.hex().encode(),
        quote(token, safe="").encode(),
        token.replace("/", "\\/").encode(),
        "".join(f"\\u{ord(c):04x}" for c in token).encode(),
    ]


def whole(reply: Reply) -> bytes:
    """A reply as a well-behaved server sends it."""
    status = reply.status or 500
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in reply.headers)]
    if status != HTTPStatus.NO_CONTENT:
        lines.append(f"Content-Length: {len(reply.body)}")
    return "\r\n".join([*lines, "", ""]).encode() + reply.body


def _at(rng: random.Random, data: bytes) -> int:
    return rng.randrange(len(data) + 1)


def _flipped(rng: random.Random, data: bytes) -> bytes:
    """One byte of the head changed; not in the status, which would be another word of the peer's."""
    head = data.index(b"\r\n\r\n") + 4
    place = rng.choice([place for place in range(head) if not 9 <= place < 12])
    return data[:place] + bytes([rng.randrange(256)]) + data[place + 1 :]


def _chunked(rng: random.Random, data: bytes) -> bytes:
    head, _, body = data.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-length")]
    parts, at = [], 0
    while at < len(body):
        size = rng.randint(1, len(body))
        piece = body[at : at + size]
        parts.append(b"%x%b\r\n%b\r\n" % (len(piece), rng.choice([b"", b";name=value", b" "]), piece))
        at += size
    end = rng.choice(
        [
            b"0\r\n\r\n",
            b"0\r\nTrailer: x\r\n\r\n",
            b"",
            b"0\r\n",
            b"xyz\r\n\r\n",
            b"-1\r\n\r\n",
            b"ffffffffffffffffff\r\n",
        ]
    )
    return b"\r\n".join([*lines, b"Transfer-Encoding: chunked"]) + b"\r\n\r\n" + b"".join(parts) + end


def _with(data: bytes, *fields: bytes) -> bytes:
    head, mark, body = data.partition(b"\r\n\r\n")
    return b"\r\n".join([head, *fields]) + mark + body


def _wrong_length(rng: random.Random, data: bytes) -> bytes:
    head, mark, body = data.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-length")]
    length = rng.choice(
        [b"0", b"1", b"5", b"%d" % (len(body) + 7), b"-1", b"1e3", b"99999999999999999999", b"2, 2", b"0x2"]
    )
    return b"\r\n".join([*lines, b"Content-Length: " + length]) + mark + body


def _gzipped(rng: random.Random, data: bytes) -> bytes:
    head, mark, body = data.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-length")]
    packed = gzip.compress(body, mtime=0)
    packed = rng.choice([packed, packed[:-4], packed + b"more", b"no gzip at all", gzip.compress(b"0" * (9 << 20))])
    return b"\r\n".join([*lines, b"Content-Encoding: gzip", b"Content-Length: %d" % len(packed)]) + mark + packed


END: Step = (0.0, None)
ODDITIES: dict[str, Callable[[random.Random, bytes], list[Step]]] = {
    "in pieces": lambda rng, data: [(rng.choice([0.0, 0.01, 0.3]), data[n : n + 7]) for n in range(0, len(data), 7)],
    "cut": lambda rng, data: [(0.0, data[: _at(rng, data)]), END],
    "cut and silent": lambda rng, data: [(0.0, data[: _at(rng, data)]), (_HANG, None)],
    "nothing": lambda rng, data: [END],
    "silent": lambda rng, data: [(_HANG, None)],
    "slow": lambda rng, data: [(rng.choice([1.0, TIMEOUT - 0.1]), data)],
    "late": lambda rng, data: [(TIMEOUT + rng.choice([0.01, 1.0]), data)],
    "twice": lambda rng, data: [(0.0, data + data)],
    "twice and a half": lambda rng, data: [(0.0, data + data[: _at(rng, data)])],
    "something more": lambda rng, data: [(0.0, data + rng.choice([b"\r\n", b"x", b"\x00", b"HTTP/1.1 200 OK\r\n"]))],
    "interim": lambda rng, data: [
        (0.0, b"HTTP/1.1 10%d Interim\r\nX: y\r\n\r\n" % rng.choice([0, 2, 3, 9]) * rng.choice([1, 3]) + data)
    ],
    "only interim": lambda rng, data: [(0.0, b"HTTP/1.1 100 Continue\r\n\r\n" * 3), rng.choice([END, (_HANG, None)])],
    "switching": lambda rng, data: [
        (0.0, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
        END,
    ],
    "version 1.0": lambda rng, data: [(0.0, data.replace(b"HTTP/1.1", b"HTTP/1.0", 1)), END],
    "another version": lambda rng, data: [
        (0.0, data.replace(b"HTTP/1.1", rng.choice([b"HTTP/0.9", b"HTTP/2", b"HTTP/1.9", b"ICY"]), 1)),
        END,
    ],
    "closes": lambda rng, data: [(0.0, _with(data, b"Connection: close")), END],
    "says it closes, and does not": lambda rng, data: [(0.0, _with(data, b"Connection: close"))],
    "wrong length": lambda rng, data: [(0.0, _wrong_length(rng, data)), rng.choice([END, (_HANG, None)])],
    "chunked": lambda rng, data: [(0.0, _chunked(rng, data)), rng.choice([END, (_HANG, None)])],
    "both framings": lambda rng, data: [(0.0, _with(_chunked(rng, data), b"Content-Length: 3")), END],
    "flipped": lambda rng, data: [(0.0, _flipped(rng, data)), rng.choice([END, (_HANG, None)])],
    "garbage": lambda rng, data: [(0.0, rng.randbytes(rng.choice([1, 20, 3000]))), rng.choice([END, (_HANG, None)])],
    "bare line feeds": lambda rng, data: [(0.0, data.replace(b"\r\n", b"\n")), rng.choice([END, (_HANG, None)])],
    "a long field": lambda rng, data: [(0.0, _with(data, b"X: " + b"y" * rng.choice([8000, 70_000])))],
    "many fields": lambda rng, data: [(0.0, _with(data, *[b"X-%d: y" % n for n in range(rng.choice([200, 12_000]))]))],
    "an odd field": lambda rng, data: [
        (0.0, _with(data, rng.choice([b"no colon", b" folded: x", b"a b: c", b"X: \x00", b"X: \xff", b": empty"])))
    ],
    "gzip": lambda rng, data: [(0.0, _gzipped(rng, data))],
    "HTML": lambda rng, data: [
        (0.0, b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 19\r\n\r\n<html>sign in</html>"[:-1])
    ],
    "another status": lambda rng, data: [(0.0, _another_status(rng))],
    "the token": lambda rng, data: [(0.0, _echoed(rng))],
}


def _another_status(rng: random.Random) -> bytes:
    status, after = rng.choice([408, 425, 429, 500, 502, 503, 504, 599]), rng.choice([b"", b"Retry-After: 1\r\n"])
    body = rng.choice([b"no", b"\x1b[2J\rno\nbatcher: everything was applied", b"\xe2\x80\xae on"])
    return b"HTTP/1.1 %d X\r\n%bContent-Length: %d\r\n\r\n" % (status, after, len(body)) + body


def _echoed(rng: random.Random) -> bytes:
    said = rng.choice(encodings(TOKEN))
    if rng.random() < 0.5:
        return _echoed_badly(rng, said)
    if rng.random() < 0.3:  # also in a part of its own, and in a field
        said = said[: len(said) * 2 // 3] + b" " + said
    field_ = b"X-Auth: " + said + b"\r\n" if b"\n" not in said else b""
    body = rng.choice([said, b'{"error_msg": "' + said + b'"}', b'{"err": "bad ' + said + b'"}'])
    return b"HTTP/1.1 %d X\r\n%bContent-Length: %d\r\n\r\n" % (rng.choice([500, 503]), field_, len(body)) + body


def _echoed_badly(rng: random.Random, said: bytes) -> bytes:
    """Where a parser would quote it: in a broken head, or in the framing."""
    return rng.choice(
        [
            said + b"\r\n\r\n",
            b"HTTP/1.1 " + said + b"\r\n\r\n",
            b"HTTP/" + said + b" 200 OK\r\n\r\n",
            b"HTTP/1.1 500 X\r\n" + said + b"\r\n\r\n",
            b"HTTP/1.1 500 X\r\nContent-Length: " + said + b"\r\n\r\n",
            b"HTTP/1.1 500 X\r\nTransfer-Encoding: " + said + b"\r\n\r\n",
            b"HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\n" + said + b"\r\n",
            b"HTTP/1.1 500 X\r\nContent-Encoding: " + said + b"\r\nContent-Length: 2\r\n\r\nno",
            b"HTTP/1.1 500 X\r\nSet-Cookie: a=" + said * 3000 + b"\r\nContent-Length: 2\r\n\r\nno",
        ]
    )


@dataclass
class Peer:
    """The other side: does what it is asked, and says it in its own way."""

    world: World
    rng: random.Random
    odd: float
    """How likely a reply is to be odd."""
    kinds: list[str]
    log: list[tuple[float, str, str]] = field(default_factory=list)
    """When, what the reply would have been, and in which way it was said."""
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        task = asyncio.current_task()
        self.tasks.add(task)
        try:
            if self.rng.random() < self.odd / 10:  # speaks before it is asked
                writer.write(self.rng.choice([b"220 mail\r\n", b"\x15\x03\x01\x00\x02\x02\x28"]))
            while await self._answer(reader, writer):
                if self.rng.random() < self.odd / 10:
                    await self._speak_unasked(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ssl.SSLError):
            pass
        finally:
            self.tasks.discard(task)
            writer.transport.abort()

    async def _speak_unasked(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """While no request is on its way: what comes while one is, is its reply for all that anybody can know.

        The clock only goes on when nothing is on its way.
        """
        await asyncio.sleep(0.001 * (1 + self.rng.random()))  # noqa: TID251 — the peer is asyncio's own
        if not reader._buffer:
            writer.write(self.rng.choice([b"HTTP/1.1 204 No Content\r\n\r\n", b"\r\n", b"x"]))

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        line, *fields = head.decode("latin-1").split("\r\n")[:-2]
        headers = {name.lower(): value.strip() for name, _, value in (text.partition(":") for text in fields)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        method, path, _ = line.split(" ")
        now = asyncio.get_running_loop().time()
        reply = self.world.handle(Arrival(method, path, headers, body), now)
        data, way = whole(reply), "plainly"
        steps: list[Step] = [(reply.delay, data)]
        if self.rng.random() < self.odd:
            way = self.rng.choice(self.kinds)
            steps = ODDITIES[way](self.rng, data)
        self.log.append((now, data[9:12].decode(), way))
        for seconds, piece in steps:
            if seconds:
                await asyncio.sleep(seconds)  # noqa: TID251 — as above
            if piece is None:
                if self.rng.random() < 0.3:
                    writer.transport.abort()
                elif self.rng.random() < 0.3 and writer.can_write_eof():
                    writer.write_eof()
                    await asyncio.sleep(1.0)  # noqa: TID251 — as above
                return False
            writer.write(piece)
            await writer.drain()
        return True


@dataclass
class Plan:
    """Everything that a seed decides."""

    kind: str
    changes: list[Change]
    bad: frozenset[int]
    is_timed: bool
    """Whether it is the client of load runs."""
    is_encrypted: bool
    odd: float
    kinds: list[str]
    settings: dict[str, Any]
    is_untrusted: bool
    """Whether nobody has told the client about the peer's certificate."""

    @staticmethod
    def of(rng: random.Random) -> Plan:
        users = rng.choice([3, 10, 25])
        return Plan(
            rng.choice(["minapp", "scrutinizer"]),
            [("add", user, rng.randrange(3)) for user in range(users)],
            frozenset(rng.sample(range(users), rng.choice([0, 0, 1, 2]))),
            rng.random() < 0.5,
            rng.random() < 0.15,
            rng.choice([0.1, 0.3, 0.6, 1.0]),
            rng.sample(list(ODDITIES), rng.choice([1, 3, len(ODDITIES)])),
            {
                "limits_max_changes": rng.choice([1, 2, 5]),
                "rate_max_in_flight": rng.choice([1, 2, 4]),
                "retry_max_attempts": rng.choice([2, 4]),
                "retry_base_seconds": 0.05,
                "retry_max_seconds": 2.0,
                "retry_max_wait": "20m",
                "target_timeout_seconds": TIMEOUT,
            },
            rng.random() < 0.3,
        )


class Life:
    """One seed: a run with an odd peer, then what goes on with it while the peer is well."""

    def __init__(self, seed: int, folder: Path, change: Callable[[Plan], Plan]) -> None:
        self.rng = random.Random(seed)
        self.plan = change(Plan.of(self.rng))
        self.folder = folder
        self.ledger = folder / "run.ledger"
        self.peer = Peer(
            World(Behaviour(token=TOKEN, bad_users=self.plan.bad), utc_offset=EPOCH),
            self.rng,
            self.plan.odd,
            self.plan.kinds,
        )

    def play(self) -> Report:
        """All of it."""
        return run_virtual(self._main)

    async def _main(self) -> Report:
        server_tls = None
        if self.plan.is_encrypted:
            server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            server_tls.load_cert_chain(TLS / "cert.pem", TLS / "key.pem")
        server = await asyncio.start_server(self.peer.serve, "127.0.0.1", 0, ssl=server_tls, limit=1 << 22)
        port = server.sockets[0].getsockname()[1]
        scheme, more = ("https", {"target_ca_file": str(TLS / "cert.pem")}) if server_tls else ("http", {})
        is_hopeless = self.plan.is_encrypted and self.plan.is_untrusted
        if is_hopeless:
            more = {}
        url = f"{scheme}://127.0.0.1:{port}"
        settings = settings_for(self.plan.kind, target_url=url, **more, **self.plan.settings)
        try:
            with anyio.fail_after(_LONGEST):
                report = await self._run(settings)
                self._check(report)
                if is_hopeless:
                    self._check_hopeless(report)
                    return report
                self.peer.odd = 0.0
                for action in (resume, retry):
                    with suppress(BatcherError):  # nothing to do for one or the other
                        report = await action(self._context(settings))
                        self._check(report)
                return report
        finally:
            server.close()
            for task in list(self.peer.tasks):
                task.cancel()
            await asyncio.sleep(0)  # noqa: TID251 — the peer is asyncio's own

    async def _run(self, settings: Settings) -> Report:
        path = write_changes(self.folder / "changes.jsonl", self.plan.changes)
        return await apply([path], self._context(settings))

    def _context(self, settings: Settings) -> RunContext:
        return RunContext(settings, Credentials(token=TOKEN), self.ledger, self._runtime(), Shutdown())

    def _runtime(self) -> Runtime:
        clock = Clock(anyio.current_time, lambda: EPOCH + anyio.current_time())

        @asynccontextmanager
        async def transport(settings: Settings) -> AsyncIterator[Any]:
            target = settings.target
            trust = Trust(target.ca_file)
            made = (
                Connections(target.timeout_seconds, trust, anyio.current_time)
                if self.plan.is_timed
                else HttpTransport(target.timeout_seconds, trust)
            )
            async with made as opened:
                yield opened

        return Runtime(clock, random.Random(1).random, inline, transport)

    def _check_hopeless(self, report: Report) -> None:
        """What waiting does not change is not waited for."""
        if report.stopped is None or anyio.current_time() > _SOON or self.peer.log:
            raise LawBrokenError(f"nobody trusts the peer, and after {anyio.current_time():g} s: {report}")

    def _check(self, report: Report) -> None:
        members = {(user, group) for group, users in self.peer.world.membership.groups.items() for user in users}
        with LedgerReader(self.ledger) as reader:
            if differences(reader):
                raise LawBrokenError(f"the ledger contradicts itself: {differences(reader)}")
            states = list(reader.windows())
        if report.total != len(self.plan.changes):
            raise LawBrokenError(f"{report.total} of {len(self.plan.changes)} changes")
        for state in states:
            columns = state.window.columns
            for row, code in enumerate(state.status.tolist()):
                pair = (int(columns.user.codes[row]), int(columns.group.codes[row]))
                status = Status(code)
                if status in IN_EFFECT and pair not in members:
                    raise LawBrokenError(f"{pair} is {status.label}, and the peer never did it")
                if status is Status.FAILED and pair[0] not in self.plan.bad:
                    raise LawBrokenError(f"{pair} has failed, and the peer never refused it")
                if pair[0] in self.plan.bad and pair in members:
                    raise LawBrokenError(f"{pair} is a member, and was refused")

    def check_end(self, report: Report, log: str) -> None:
        """Once the peer was well again everything has its place; and nobody has seen a token, or what controls."""
        if not all(line.isprintable() for line in [*log.split("\n"), *self._details()]):
            raise LawBrokenError(f"this was logged, or is in the ledger: {log!r}, {self._details()}")
        if report.changes[Status.PENDING] and report.stopped is None:
            raise LawBrokenError(f"{report.changes[Status.PENDING]} changes are pending, and nothing stopped the run")
        seen = {
            str(path.relative_to(self.folder)): path.read_bytes() for path in self.folder.rglob("*") if path.is_file()
        }
        seen |= {"the log": log.encode(), "the report": repr(report).encode()}
        for name, content in seen.items():
            for secret in encodings(TOKEN):
                if secret in content:
                    raise LawBrokenError(f"the token stands in {name}")

    def _details(self) -> list[str]:
        with LedgerReader(self.ledger) as reader:
            settled = [settlement for state in reader.windows() for settlement in state.settlements]
        return [text for settlement in settled for text in settlement.details.values()]


def only(plan: Plan, name: str, *, is_timed: bool) -> Plan:
    """The same, with this kind of oddity in every reply, for this client."""
    return replace(plan, kinds=[name], odd=1.0, is_timed=is_timed, is_untrusted=False)


def run_seed(seed: int, *, verbose: bool = False, change: Callable[[Plan], Plan] = lambda plan: plan) -> Life:
    """Simulate one seed, or what is made of its plan; raises `LawBrokenError` if a law does not hold."""
    with fast_folder() as folder:
        life, said = Life(seed, Path(folder), change), io.StringIO()
        handler, logger = logging.StreamHandler(said), logging.getLogger("batcher")
        level = logger.level
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
        try:
            if verbose:
                print(life.plan)
            report = life.play()
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)
            if verbose:
                print(said.getvalue(), *life.peer.log, sep="\n")
        life.check_end(report, said.getvalue())
        return life
