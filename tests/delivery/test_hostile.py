"""Replies that echo what they were given, and plug-ins that answer nonsense: nothing leaks, nothing is booked."""

from __future__ import annotations

import base64
import html
import json
from urllib.parse import quote

import numpy as np
import pytest
from harness import Play, Target, settings_for
from hypothesis import given
from hypothesis import strategies as st

from batcher.core.http import LONGEST_TEXT, Request, Response
from batcher.core.secrets import Secrets
from batcher.core.status import Status
from batcher.core.target import Credentials
from batcher.core.verdict import Cause, Retry, Settled, Split, Stop
from batcher.delivery.dialect import what_is_wrong
from batcher.ledger.reader import LedgerReader
from batcher.targets.minapp import MinApp

TOKEN = 'T0ken/of+mine&<"9"'
FORMS = {
    "as it is": lambda t: t,
    "upper": str.upper,
    "url": lambda t: quote(t, safe=""),
    "lower url": lambda t: "".join(f"%{b:02x}" for b in t.encode()),
    "twice url": lambda t: quote(quote(t, safe=""), safe=""),
    "html": html.escape,
    "entities": lambda t: "".join(f"&#{ord(c)};" for c in t),
    "hex entities": lambda t: "".join(f"&#x{ord(c):X};" for c in t),
    "json": json.dumps,
    "json twice": lambda t: json.dumps(json.dumps(t)),
    "json escapes": lambda t: "".join(f"\\u{ord(c):04x}" for c in t),
    "escapes": lambda t: "".join(f"\\x{ord(c):02x}" for c in t),
    "base64": lambda t: base64.b64encode(t.encode()).decode(),
    "basic": lambda t: base64.b64encode(f"user:{t}".encode()).decode(),
    "bearer": lambda t: base64.urlsafe_b64encode(f"Bearer {t}".encode()).decode(),
    "hex": lambda t: t.encode().hex(),
    "hex dump": lambda t: t.encode().hex(" ").upper(),
    "with NUL": "\0".join,
    "in lines": "\n".join,
}
"""How a server may echo a token."""


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("secret", [TOKEN, "eyJhbGciOiJIUzI1NiJ9." + "x9Y_" * 100], ids=["short", "long"])
def test_a_secret_is_masked_in_every_form(form, secret):
    secrets = Secrets()
    secrets.add(secret)
    found = secrets.scrub(f"you sent <{FORMS[form](secret)}>")
    assert "***" in found
    assert len(found.replace("\\", "").replace('"', "")) < 40, found


@given(st.text(st.characters(codec="utf-8"), min_size=8, max_size=80), st.integers(0, LONGEST_TEXT + 200))
def test_what_was_cut_off_within_a_secret_shows_nothing_of_it(secret, place):
    """The texts of replies are as long as they may be; wherever the secret stands in one, no half of it is left."""
    secrets = Secrets()
    secrets.add(secret)
    text = ("." * place + secret + "." * LONGEST_TEXT)[:LONGEST_TEXT]
    found = secrets.scrub(text)
    assert set(found) <= set(".* ")


@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 404, 500, 503])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["minapp", "scrutinizer"])
def test_no_echo_reaches_the_ledger_or_the_log(tmp_path, caplog, kind, form, status):
    caplog.set_level("DEBUG")
    echo = FORMS[form](TOKEN)
    bodies = [
        echo,
        json.dumps({"error_msg": echo, "err": echo}),
        json.dumps({"data": {"added": [echo], "removed": []}}),
    ]

    def answer(ordinal, request):
        return Response(status, {"location": f"http://x/{echo}"}, bodies[ordinal % 3].encode())

    play = Play(tmp_path, Target(answer=answer), settings_for(kind, retry_max_wait="1m", retry_max_attempts=2))
    play.credentials = Credentials(token=TOKEN)
    report = play.apply([("add", 5, 53), ("remove", 6, 54)])
    with LedgerReader(play.ledger) as reader:
        kept = [repr(s) for state in reader.windows() for s in state.settlements] + [repr(reader.sessions())]
    for text in [*kept, report.reason, caplog.text, play.ledger.read_bytes().decode("latin-1")]:
        assert echo not in text
        assert TOKEN not in text


BROKEN = {
    "too few": lambda n: Settled.all(n - 1, Status.APPLIED),
    "too many": lambda n: Settled.all(n + 1, Status.APPLIED),
    "none": lambda n: Settled.all(0, Status.APPLIED),
    "rejected": lambda n: Settled.all(n, Status.REJECTED),
    "superseded": lambda n: Settled.all(n, Status.SUPERSEDED),
    "unheard of": lambda n: Settled(np.full(n, 99, np.int8)),
    "wide": lambda n: Settled(np.zeros(n, np.int64)),
    "a list": lambda n: Settled([0] * n),
    "square": lambda n: Settled(np.zeros((n, 1), np.int8)),
    "details beyond": lambda n: Settled(np.full(n, Status.FAILED, np.int8), {n: "x"}),
    "details before": lambda n: Settled(np.full(n, Status.FAILED, np.int8), {-1: "x"}),
    "details that are none": lambda n: Settled(np.full(n, Status.FAILED, np.int8), {0: None}),
    "nothing": lambda n: None,
    "a status": lambda n: Status.APPLIED,
    "a wait of nothing": lambda n: Retry("x", after=float("nan")),
    "a wait for ever": lambda n: Retry("x", after=float("inf")),
    "a wait of the past": lambda n: Retry("x", after=-1.0),
    "no reason": lambda n: Split(None),
    "no cause": lambda n: Stop("x", "y"),
    "an error": lambda n: 1 // 0,
}


class Plugin(MinApp):
    """Somebody else's."""

    answer = staticmethod(lambda n: None)

    def interpret(self, batch, response, now):
        return self.answer(len(batch))


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("status", [204, 403])
def test_nonsense_of_a_plugin_is_a_fault_of_the_run(tmp_path, monkeypatch, broken, status):
    monkeypatch.setattr(Plugin, "answer", staticmethod(BROKEN[broken]))
    monkeypatch.setattr("batcher.engine.run.session.create", lambda kind, url, env, *_, **__: Plugin(url, env))
    play = Play(tmp_path, Target(answer=lambda *_: Response(status)), settings_for("minapp"))
    report = play.apply([("add", 5, 53), ("add", 6, 53), ("add", 7, 53)])
    assert (report.stopped, report.exit_code, report.changes[Status.PENDING]) == (Cause.DIALECT, 6, 3)
    assert "plug-in" in report.reason
    assert report.next.startswith("batcher resume")


@pytest.mark.parametrize("method", ["encode", "probe", "login"])
@pytest.mark.parametrize("gives", ["an error", "nonsense"])
def test_a_plugin_that_makes_no_request(tmp_path, monkeypatch, method, gives):
    def made(*_):
        if gives == "an error":
            raise RuntimeError("a-token")
        return iter([b"x"]) if method == "login" else b"x"

    def broken(url, env):
        plugin = MinApp(url, env)
        monkeypatch.setattr(plugin, method, made)
        return plugin

    monkeypatch.setattr("batcher.engine.run.session.create", lambda kind, url, env, *_, **__: broken(url, env))
    play = Play(tmp_path, Target(answer=lambda *_: Response(401)), settings_for("minapp"))
    report = play.apply([("add", 5, 53)])
    expected = {"encode": Cause.DIALECT, "probe": Cause.CREDENTIALS, "login": Cause.DIALECT}
    assert report.stopped is expected[method]
    assert "a-token" not in report.reason
    assert report.changes[Status.PENDING] == 1


@pytest.mark.parametrize("size", [0, 1, 5])
def test_what_a_target_may_say(size):
    for verdict in (
        Settled.all(size, Status.UNCHANGED),
        Retry("x"),
        Retry("x", 0.0),
        Split("x"),
        Stop(Cause.QUOTA, "x"),
    ):
        assert what_is_wrong(verdict, size) == ""


def test_a_code_of_the_login_is_a_secret_too(tmp_path):
    """And so is a cookie of it: whoever has them can log in."""

    def answer(ordinal, request: Request):
        if request.url.endswith("/authorize/"):
            return Response(302, {"location": "/next"}, b"", ("session=cookie-of-mine",))
        if request.url.endswith("/next"):
            return Response(200, {}, b'{"code": "code-of-mine"}')
        return Response(400, {}, b'{"error": "code-of-mine and cookie-of-mine are wrong"}')

    play = Play(tmp_path, Target(answer=answer), settings_for("minapp"))
    play.credentials = Credentials(client_id="me", client_secret="s3cret-of-mine")
    report = play.apply([("add", 5, 53)])
    assert "*** and *** are wrong" in report.reason
