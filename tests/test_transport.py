"""Exchanges over real sockets: what counts as sent, what as lost, and which servers are trusted."""

from __future__ import annotations

import errno
import gzip
import ssl
import traceback
from contextlib import asynccontextmanager, suppress
from hashlib import sha256
from pathlib import Path
from time import monotonic

import anyio
import pytest
from aiohttp import web
from lines import OnLines

from batcher.core.errors import (
    ConfigurationError,
    EndpointError,
    ExhaustedError,
    NotSentError,
    ReplyLostError,
    UntrustedError,
)
from batcher.core.http import Request
from batcher.load.connection import Connections
from batcher.transport import HttpTransport, Trust
from batcher.transport.faults import fault

TLS = Path(__file__).parent / "tls"
pytestmark = pytest.mark.real_time


def measured(timeout, trust):
    """The transport of load runs, which must behave in the same way."""
    return Connections(timeout, trust, monotonic)


making = []
"""The transport that this test is about."""


@pytest.fixture(params=[HttpTransport, measured, OnLines], ids=["aiohttp", "measured", "lines"], autouse=True)
def _transport(request):
    making[:] = [request.param]


async def now():
    """A turn that is granted at once."""


@asynccontextmanager
async def server(handler, tls=None):
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        port = runner.addresses[0][1]
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


async def ask(url, trust=Trust(), turn=now, timeout=5.0):  # noqa: ASYNC109, B008 — the transport's own bound
    async with making[0](timeout, trust) as transport:
        return await transport.exchange(Request("PATCH", url + "/x", {"A": "b"}, b"body"), turn)


async def test_the_whole_reply_as_it_came():
    """Secrets are removed later from what is reported: a target must see the server's reply unchanged."""

    async def handler(request):
        assert (request.method, request.headers["A"], await request.text()) == ("PATCH", "b", "body")
        response = web.Response(status=400, text="no tok-12345", headers={"X-Echo": "tok-12345"})
        response.headers.add("Set-Cookie", "a=1")
        response.headers.add("Set-Cookie", "b=2")
        return response

    async with server(handler) as url:
        reply = await ask(url)
    assert (reply.status, reply.body, reply.headers["x-echo"]) == (400, b"no tok-12345", "tok-12345")
    assert reply.cookies == ("a=1", "b=2")
    assert "tok-12345" not in repr(reply)


async def test_redirects_are_not_followed_and_bombs_not_unpacked():
    async def handler(request):
        if request.path == "/x":
            return web.Response(status=302, headers={"Location": "/y"})
        raise AssertionError("followed")

    async with server(handler) as url:
        assert (await ask(url)).status == 302

    async def bomb(request):
        return web.Response(body=gzip.compress(b"0" * 10**7), headers={"Content-Encoding": "gzip"})

    async with server(bomb) as url:
        assert len((await ask(url)).body) < 20_000


async def test_an_endless_body_is_lost():
    async def handler(request):
        response = web.StreamResponse()
        await response.prepare(request)
        with anyio.move_on_after(5):
            while True:
                await response.write(b"x" * (1 << 20))
        return response

    async with server(handler) as url:
        with pytest.raises(ReplyLostError, match="larger than 8 MiB"):
            await ask(url)


async def test_no_answer_in_time_is_lost_and_waiting_for_a_turn_does_not_count():
    is_slow = True

    async def handler(request):
        await anyio.sleep(5.0 if is_slow else 0)
        return web.Response(status=204)

    async def later():
        await anyio.sleep(0.8)

    async with server(handler) as url:
        with pytest.raises(ReplyLostError, match=r"within 0\.1 s"):
            await ask(url, timeout=0.1)
        is_slow = False
        assert (await ask(url, turn=later, timeout=0.6)).status == 204


async def test_a_connection_that_is_dropped_is_lost():
    async def handler(request):
        request.transport.abort()
        return web.Response()

    async with server(handler) as url:
        with pytest.raises(ReplyLostError, match="no complete reply"):
            await ask(url)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://name.invalid", "http://127.0.0.1:1"])
async def test_what_never_left_was_not_sent(url):
    async def turn():
        raise AssertionError("no connection, no turn")

    with pytest.raises(NotSentError, match="no connection"):
        await ask(url, turn=turn)


async def test_tls_is_verified_unless_told_otherwise_by_name():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(TLS / "cert.pem", TLS / "key.pem")
    der = ssl.PEM_cert_to_DER_cert((TLS / "cert.pem").read_text(encoding="ascii"))
    fingerprint = sha256(der).hexdigest()

    async def handler(request):
        return web.Response(status=204)

    async with server(handler, context) as url:
        for trust in (
            Trust(ca_file=str(TLS / "cert.pem")),
            Trust(fingerprint=fingerprint),
            Trust(insecure=True),
        ):
            assert (await ask(url, trust)).status == 204
        for trust in (Trust(), Trust(fingerprint="00" * 32)):
            with pytest.raises(UntrustedError, match=r"target\.(ca_file|tls_fingerprint)"):
                await ask(url, trust)


def test_what_cannot_verify():
    with pytest.raises(ConfigurationError, match="ca_file"):
        Trust(ca_file="/none").context()
    with pytest.raises(ConfigurationError, match="tls_fingerprint"):
        Trust(fingerprint="zz").context()


def port(listener):
    return listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 — anyio's


@asynccontextmanager
async def listening(serve):
    """A socket whose connections are served by this function; yields its address."""
    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0) as listener,
        anyio.create_task_group() as group,
    ):
        group.start_soon(listener.serve, serve)
        yield f"http://127.0.0.1:{port(listener)}"
        group.cancel_scope.cancel()


@asynccontextmanager
async def raw_server(answers):
    """A socket that answers each request on a connection with the next of these replies, and then hangs up."""
    asked = []

    async def serve(stream):
        async with stream:
            for answer in answers:
                try:
                    asked.append(await stream.receive())
                except anyio.EndOfStream:
                    return
                await stream.send(answer)

    async with listening(serve) as url:
        yield url, asked


NO_CONTENT = b"HTTP/1.1 204 No Content\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        NO_CONTENT + b"".join(b"X-%d: y\r\n" % n for n in range(200_000)) + b"\r\n",
        NO_CONTENT + b"X: " + b"y" * 1_000_000 + b"\r\n\r\n",
        b"HTTP/1.1 204 " + b"y" * 1_000_000 + b"\r\n\r\n",
        b"HTTP/9.9 nothing\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
    ],
    ids=["headers", "long header", "long reason", "version", "chunk", "half", "length"],
)
async def test_a_reply_that_is_no_reply_is_lost(answer):
    """And never causes an error of a library to be raised."""
    async with raw_server([answer]) as (url, asked):
        with pytest.raises(ReplyLostError):
            await ask(url, timeout=10)
    assert len(asked) == 1


async def test_a_connection_that_was_closed_between_requests_is_opened_anew():
    """The second request is either answered or reported as lost, never anything else."""
    once = raw_server([NO_CONTENT + b"\r\n"])
    async with once as (url, asked), making[0](5.0, Trust()) as transport:
        for _ in range(5):
            try:
                reply = await transport.exchange(Request("PATCH", url + "/x", {}, b"body"), now)
            except (NotSentError, ReplyLostError):
                continue
            assert reply.status == 204
            await anyio.sleep(0.05)
    assert len(asked) == 5


async def test_what_a_reply_may_look_like():
    """In parts or chunks, after a 1xx, delimited by the end of the connection, several on one connection."""
    answers = [
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok",
    ]
    async with raw_server(answers) as (url, asked), making[0](5.0, Trust()) as transport:
        for _ in answers:
            reply = await transport.exchange(Request("PATCH", url + "/x", {}, b"body"), now)
            assert (reply.status, reply.body) == (200, b"ok")
    assert len(asked) == 3


async def test_connections_that_died_while_they_were_idle_cost_no_turn():
    turns = []

    async def turn():
        turns.append(1)

    async with raw_server([NO_CONTENT + b"\r\n"]) as (url, asked), making[0](5.0, Trust()) as transport:
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(transport.exchange, Request("PATCH", url + "/x", {}, b"body"), turn)
        await anyio.sleep(0.1)  # the server hangs up after each
        await transport.exchange(Request("PATCH", url + "/x", {}, b"body"), turn)
    assert len(asked) == len(turns) == 4


SECRET = "s3cret-of-mine"


@pytest.mark.parametrize(
    "answer",
    [
        f"HTTP/1.1 500 Oops\r\n{SECRET}\r\n\r\n",
        f"HTTP/1.1 500 Oops\r\nX\t{SECRET}: 1\r\n\r\n",
        f"HTTP/1.1 {SECRET} Oops\r\n\r\n",
        f"{SECRET} 200 OK\r\n\r\n",
        f"HTTP/1.1 200 OK\r\nContent-Length: {SECRET}\r\n\r\n",
        f"HTTP/1.1 200 OK\r\nTransfer-Encoding: {SECRET}\r\n\r\n",
        f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{SECRET}\r\n",
        f"HTTP/1.1 200 OK\r\nX: {SECRET * 10_000}\r\n\r\n",
        f"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{SECRET}",
        f"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{SECRET}",
        f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 14\r\n\r\n{SECRET}",
        f"HTTP/1.1 101 {SECRET}\r\nUpgrade: {SECRET}\r\nConnection: upgrade\r\n\r\n{SECRET}",
        f"HTTP/1.1 204 {SECRET}\x00\r\n\r\n",
        SECRET,
    ],
)
async def test_no_error_quotes_what_came(answer, caplog):
    """Parsers of libraries quote what they read, and a server may send back secrets that it was given."""
    caplog.set_level("DEBUG")
    async with raw_server([answer.encode()]) as (url, _):
        try:
            await ask(url, timeout=2)
        except (NotSentError, ReplyLostError) as error:
            shown = "".join(traceback.format_exception(error))
            assert "SECRET" not in shown.replace(SECRET, "SECRET")
    assert SECRET not in caplog.text


@asynccontextmanager
async def meddling_server(before=b"", after=b"", answers=(NO_CONTENT + b"\r\n",) * 9, pause=0.01):
    """Sends `before` at the beginning, and `after` a moment after each reply, both unrequested."""
    asked = []

    async def serve(stream):
        async with stream:
            if before:
                await stream.send(before)
            for answer in answers:
                try:
                    asked.append(await stream.receive())
                except anyio.EndOfStream:
                    return
                await stream.send(answer)
                await anyio.sleep(pause)
                if after:
                    with suppress(anyio.BrokenResourceError):
                        await stream.send(after)

    async with listening(serve) as url:
        yield url, asked


REFUSED = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno"


@pytest.mark.parametrize("surplus", [NO_CONTENT + b"\r\n", NO_CONTENT[:10], b"\r\n", b"x"])
@pytest.mark.parametrize("waits", ["while it is kept", "while a request waits for its turn"])
async def test_a_reply_that_nobody_asked_for_answers_nothing(surplus, waits):
    turned = []

    async def turn():
        turned.append(1)
        if waits != "while it is kept":
            await anyio.sleep(0.05)

    async with (
        meddling_server(after=surplus, answers=(REFUSED,) * 9) as (url, asked),
        making[0](5.0, Trust()) as transport,
    ):
        for _ in range(4):
            reply = await transport.exchange(Request("PATCH", url + "/x", {}, b"body"), turn)
            assert (reply.status, reply.body) == (400, b"no")
            await anyio.sleep(0.05 if waits == "while it is kept" else 0)
    assert len(asked) == 4


@pytest.mark.parametrize("answer", [NO_CONTENT + b"\r\n", REFUSED], ids=["204", "400"])
@pytest.mark.parametrize("pause", [None, 0.05], ids=["at once", "later"])
async def test_once_a_surplus_reply_has_come_no_connection_is_used_twice(answer, pause, caplog):
    """It cannot be distinguished from a proper reply if it arrives during the next request."""
    per_connection = []

    async def serve(stream):
        per_connection.append(0)
        mine = len(per_connection) - 1
        async with stream:
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                while await stream.receive():
                    per_connection[mine] += 1
                    await stream.send(answer if pause else answer * 2)
                    await anyio.sleep(pause or 0)
                    if pause:
                        await stream.send(answer)

    async with listening(serve) as url, making[0](5.0, Trust()) as transport:
        for number in range(6):
            await transport.exchange(Request("PATCH", url + "/x", {}, b"body"), now)
            if not number:
                await anyio.sleep(0.2)
    assert sum(per_connection) == 6
    assert max(per_connection) == 1
    assert caplog.text.count("sent a reply that nobody had requested") == 1


async def test_who_speaks_before_he_is_asked_is_no_server_of_http():
    async with meddling_server(before=b"220 mail.example.org ESMTP\r\n") as (url, asked):
        with pytest.raises(EndpointError, match="sends data before any request"):
            await ask(url, turn=slow_turn)
    assert not asked


async def slow_turn():
    await anyio.sleep(0.1)


@pytest.mark.parametrize("framing", [b"Content-Length: 2\r\n", b"Transfer-Encoding: chunked\r\n", b""])
@pytest.mark.parametrize("late", [True, False])
async def test_a_204_is_one_whatever_follows_it(framing, late):
    """RFC 9110 §6.4.1 forbids a body. Servers that send one nevertheless can be used, each connection once."""
    head, body = NO_CONTENT + framing + b"\r\n", b"2\r\n{}\r\n0\r\n\r\n" if b"chunked" in framing else b"{}"
    answer, after = (head, body) if late else (head + body, b"")
    async with (
        meddling_server(after=after, answers=(answer,) * 9, pause=0.01) as (url, asked),
        making[0](5.0, Trust()) as transport,
    ):
        for _ in range(3):
            reply = await transport.exchange(Request("PATCH", url + "/x", {}, b"body"), now)
            assert (reply.status, reply.body) == (204, b"")
            await anyio.sleep(0.05)
    assert len(asked) == 3


@pytest.mark.parametrize("cut", range(1, len(NO_CONTENT) + 2))
async def test_a_204_in_two_pieces(cut):
    whole = NO_CONTENT + b"\r\n"
    async with meddling_server(answers=(whole[:cut],), after=whole[cut:], pause=0.01) as (url, _):
        assert (await ask(url)).status == 204


async def test_heads_that_are_large_but_no_flood():
    long = NO_CONTENT + b"X: " + b"y" * 20_000 + b"\r\n\r\n"
    many = NO_CONTENT + b"".join(b"X-%d: y\r\n" % n for n in range(3_000)) + b"\r\n"
    for answer in (long, many):
        async with raw_server([answer]) as (url, _):
            assert (await ask(url)).status == 204


async def test_what_was_compressed_unasked_is_unpacked():
    packed = gzip.compress(b'{"data": {}}')
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
    for body, found in ((packed, b'{"data": {}}'), (packed[:-3], packed[:-3]), (b"rubbish", b"rubbish")):
        async with raw_server([head % len(body) + body]) as (url, _):
            assert (await ask(url)).body == found


async def test_http_where_tls_is_expected_and_the_other_way_round():
    """A second attempt would fail in the same way: the run can end at once and say why."""

    async def handler(request):
        return web.Response(status=204)

    async with server(handler) as url:
        with pytest.raises(EndpointError, match="does not speak TLS"):
            await ask(url.replace("http://", "https://"))
    async with raw_server([b"\x15\x03\x01\x00\x02\x02\x46"]) as (url, _):
        with pytest.raises(EndpointError, match="speaks TLS on this port; write https://"):
            await ask(url)


async def test_a_fingerprint_is_looked_at_although_nothing_else_is():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(TLS / "cert.pem", TLS / "key.pem")

    async def handler(request):
        return web.Response(status=204)

    async with server(handler, context) as url:
        with pytest.raises(UntrustedError, match="tls_fingerprint"):
            await ask(url, Trust(fingerprint="00" * 32, insecure=True))


def test_whose_fault_it_is_that_there_is_no_connection():
    assert isinstance(fault(OSError(errno.EMFILE, "x"), "h", has_left=False), ExhaustedError)
    assert isinstance(fault(UnicodeError("label too long"), "h", has_left=False), EndpointError)
    assert type(fault(OSError(errno.ECONNREFUSED, "x"), "h", has_left=False)) is NotSentError
    assert isinstance(fault(ssl.SSLError(1, "x"), "h", has_left=True), ReplyLostError)


@pytest.mark.parametrize("beginning", [1, 9, 12, 20])
async def test_the_beginning_of_another_reply_is_not_that_of_the_next_requests(beginning):
    """It comes in one piece with the reply that was asked for; whatever follows it would complete it."""
    surplus = NO_CONTENT + b"\r\n" + NO_CONTENT[:beginning]
    answers = (surplus, REFUSED, REFUSED)
    async with meddling_server(answers=answers, pause=0.0) as (url, asked), making[0](5.0, Trust()) as transport:
        replies = [await transport.exchange(Request("PATCH", url + "/x", {}, b"body"), now) for _ in range(2)]
    assert replies[0].status == 204
    assert replies[1].status == 204  # of another connection, where it is the first again
    assert len(asked) == 2
