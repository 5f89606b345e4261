"""Spans for OpenTelemetry: one per delivery, its tries as events."""

from __future__ import annotations

import pytest
from harness import EPOCH, Play, Target, settings_for
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from batcher.cli.outlets.tracing import Tracing
from batcher.simulator.behaviour import Behaviour, Fault


def spans_of(tmp_path, behaviour, changes):
    kept = InMemorySpanExporter()
    tracing = Tracing("apply", SimpleSpanProcessor(kept))
    settings = settings_for("minapp", limits_max_changes=4, rate_max_in_flight=2)
    play = Play(tmp_path, Target(behaviour), settings, observer=tracing.observer())
    with tracing.recorded():
        report = play.apply(changes)
    *deliveries, run = kept.get_finished_spans()
    return report, deliveries, run


def test_one_span_per_delivery_with_attempts_as_events(tmp_path):
    behaviour = Behaviour(latency_seconds=0.5, faults=(Fault("503", 0.4),), seed=1)
    report, deliveries, run = spans_of(tmp_path, behaviour, [("add", user, 1) for user in range(20)])
    assert run.name == "batcher apply"
    assert run.attributes["batcher.target"] == "minapp"
    assert len(deliveries) == 5
    events = [event for span in deliveries for event in span.events]
    assert len(events) == report.requests.sent > 5
    assert {event.attributes["http.response.status_code"] for event in events} == {204, 503}
    for span in deliveries:
        assert span.parent.span_id == run.context.span_id
        assert span.attributes["batcher.outcome"] == "accepted"
        assert span.attributes["batcher.changes"] == 4
        first, last = span.events[0], span.events[-1]
        assert last.attributes["http.response.status_code"] == 204
        assert span.start_time >= EPOCH * 1e9
        assert first.timestamp - span.start_time == pytest.approx(0.5e9, abs=1e6)
        assert span.end_time == last.timestamp


def test_a_refused_batch_is_split_and_nobody_is_named(tmp_path):
    _, deliveries, _ = spans_of(tmp_path, Behaviour(bad_users=frozenset({4711})), [("add", 4711, 1), ("add", 5, 1)])
    outcomes = [span.attributes["batcher.outcome"] for span in deliveries]
    assert outcomes[0] == "split"
    assert sorted(outcomes[1:]) == ["accepted", "refused"]
    assert not deliveries[0].status.is_ok
    assert "4711" not in "".join(span.to_json() for span in deliveries)


def test_the_package_is_an_extra(shell):
    shell.write("c.csv", "op,user_id,group_id\nadd,1,1\n")
    shell.write("opentelemetry.py", "raise ImportError\n")
    flags = ("--simulate", "--traces", "--ledger", "a.ledger")
    with shell.execute("apply", "c.csv", *flags, PYTHONPATH=str(shell.folder)) as refused:
        _, said = refused.communicate(timeout=60)
    assert refused.returncode == 2
    assert b"batcher[otel]" in said
