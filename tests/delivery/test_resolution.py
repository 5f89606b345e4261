"""What becomes of a batch by its last verdict, where whole runs would not show the difference."""

from __future__ import annotations

import numpy as np
import pytest
from columns import batch_of
from harness import EPOCH

from batcher.core.clock import Clock
from batcher.core.errors import EndpointError, ExhaustedError, UnknownClientError, UntrustedError
from batcher.core.health import Health
from batcher.core.report import Requests
from batcher.core.secrets import Secrets
from batcher.core.status import Status
from batcher.core.verdict import Cause, Retry, Settled, Split, Stop
from batcher.delivery.delivery import Delivery
from batcher.delivery.dialect import Dialect
from batcher.delivery.resolution import Resolution
from batcher.delivery.token_provider import stop_of
from batcher.targets import create


def resolution(health):
    dialect = Dialect(create("scrutinizer", "https://example.org", ""), Secrets())
    return Resolution(Requests(), health, Clock(lambda: 0.0, lambda: EPOCH), dialect)


@pytest.mark.parametrize("verdict", [Retry("no whole reply"), Split("refused")])
def test_a_change_alone_that_brought_nothing_is_held_and_counts_for_a_trial(verdict):
    """Nothing was accepted meanwhile, so it may be the run's fault: a trial that ends so speaks against the run."""
    delivered = resolution(Health()).of(Delivery(batch_of([("add", 1, 2)]), 0), verdict)
    assert delivered.was_refused
    assert not delivered.settled
    assert len(delivered.refused) == 1


def test_a_change_alone_that_used_up_its_attempts_while_others_were_accepted_is_booked():
    health = Health()
    delivery = Delivery(batch_of([("add", 1, 2)]), health.accepted)
    health.succeeded()
    delivered = resolution(health).of(delivery, Retry("no whole reply"))
    assert not delivered.was_refused
    assert not delivered.refused
    assert [word.status.tolist() for word in delivered.settled] == [[Status.UNKNOWN]]


@pytest.mark.parametrize("verdict", [Retry("no whole reply"), Split("refused")])
def test_several_changes_are_halved_and_nothing_is_said_of_them(verdict):
    delivered = resolution(Health()).of(Delivery(batch_of([("add", 1, 2), ("add", 3, 2), ("add", 4, 2)]), 0), verdict)
    assert [sum(map(len, ops)) for ops in delivered.pieces] == [1, 2]
    assert not delivered.settled
    assert not delivered.refused
    assert delivered.was_refused is isinstance(verdict, Split)


@pytest.mark.parametrize(("pending", "pieces"), [(1, [1]), (2, [1, 1]), (3, [1, 2])])
def test_what_a_reply_leaves_open_goes_out_again_in_halves(pending, pieces):
    statuses = np.array([Status.APPLIED] * (4 - pending) + [Status.PENDING] * pending, np.int8)
    batch = batch_of([("add", user, 2) for user in range(4)])
    delivered = resolution(Health()).of(Delivery(batch, 0), Settled(statuses))
    assert [sum(map(len, ops)) for ops in delivered.pieces] == pieces
    assert [word.rows.tolist() for word in delivered.settled] == [list(range(4 - pending))]


@pytest.mark.parametrize(
    ("error", "is_known", "expected"),
    [
        (EndpointError("gone"), False, Stop),
        (EndpointError("gone"), True, Retry),
        (UntrustedError("another certificate"), False, Stop),
        (UntrustedError("another certificate"), True, Stop),
        (UnknownClientError("who are you?"), True, Stop),
        (ExhaustedError("no descriptors"), True, Stop),
    ],
)
def test_a_target_that_has_answered_before_is_only_lost_for_good_by_what_does_not_pass(error, is_known, expected):
    verdict = stop_of(error, is_known=is_known)
    assert isinstance(verdict, expected)
    if isinstance(error, UntrustedError):
        assert verdict.cause is Cause.UNTRUSTED
