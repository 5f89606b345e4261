"""What every target must keep, whatever it is asked or answered."""

from __future__ import annotations

import numpy as np
import orjson
import pytest
from clubs import Clubs
from columns import batch_of, columns_of
from hypothesis import given
from hypothesis import strategies as st

from batcher.core.batch import Batch
from batcher.core.errors import ConfigurationError
from batcher.core.http import Response
from batcher.core.pack import pack
from batcher.core.status import IN_EFFECT, Status, are
from batcher.core.verdict import Retry, Settled, Split, Stop
from batcher.settings import Settings
from batcher.targets import create, names

TARGETS = [*(create(name, "https://example.org", "") for name in names()), Clubs("https://example.org", "")]
_JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-5, 5),
        st.text(max_size=5),
        st.sampled_from(["User 1 added to usergroup 2"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(["data", "added", "removed", "err", "details", "error_msg", "x"]), inner, max_size=4
        ),
    ),
    max_leaves=12,
)
_BODY = st.one_of(st.binary(max_size=60), _JSON.map(orjson.dumps), st.just(b"[" * 5000))
_HEADERS = st.dictionaries(
    st.sampled_from(["retry-after", "location", "content-type"]), st.text(max_size=12), max_size=3
)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@given(status=st.integers(200, 599), body=_BODY, headers=_HEADERS, count=st.integers(1, 4))
def test_every_reply_yields_a_verdict_and_never_an_exception(target, status, body, headers, count):
    """And only the documented success applies anything."""
    columns = columns_of([("add", user, 2) for user in range(1, count + 1)])
    (ops,) = pack(columns, np.arange(count), target.limits, target.wire)
    batch = Batch(1, 0, ops, columns.user, columns.group)
    verdict = target.interpret(batch, Response(status, headers, body), 0.0)
    assert isinstance(verdict, Settled | Retry | Split | Stop)
    assert isinstance(target.interpret_probe(Response(status, headers, body), 0.0), Settled | Retry | Split | Stop)
    if isinstance(verdict, Settled):
        assert len(verdict.statuses) == count
        assert status in {200, 204} or not are(verdict.statuses, IN_EFFECT).any()


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_credentials_never_show_in_a_repr(target):
    assert "s3cret" not in repr(target.encode(batch_of([("add", 1, 2)]), "s3cret"))
    assert "s3cret" not in repr(target.probe("s3cret"))


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_the_defaults_fit_the_settings(target):
    settings = Settings.load(None, {"target.kind": target.name, "target.url": target.url})
    assert settings.limits_for(target) == target.limits
    assert settings.requests_rate(target) is not None
    assert int(Status.PENDING) == 0


def test_an_unknown_kind_names_the_known_ones():
    with pytest.raises(ConfigurationError, match="minapp, scim, scrutinizer"):
        create("nope", "", "")
    with pytest.raises(ConfigurationError, match="--target minapp, scim or scrutinizer"):
        create("", "", "")


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize("key", [b"err", b"error_msg", b"data", b"x"])
def test_deep_nesting_in_a_reply_is_no_error_of_ours(target, key):
    """JSON that is allowed, and deeper than Python likes to print."""
    body = b'{"%b":%b1%b}' % (key, b"[" * 1000, b"]" * 1000)
    columns = columns_of([("add", 1, 2)])
    (ops,) = pack(columns, np.arange(1), target.limits, target.wire)
    batch = Batch(1, 0, ops, columns.user, columns.group)
    for status in (200, 400):
        assert isinstance(target.interpret(batch, Response(status, {}, body), 0.0), Settled | Retry | Split | Stop)
