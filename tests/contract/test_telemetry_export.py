"""OpenTelemetry against a collector over real HTTP: what it receives, and what it cannot do to us."""

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fakes.fake_collector import FakeCollector, plain

from registry.messages import Attempt, Usage
from serving import otel
from serving.request_context import RequestIds, current, request_ids
from serving.telemetry import build_telemetry

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
ANSWERED = Attempt(
    provider="anthropic",
    model="claude-x-20260101",
    asked_model="claude-x",
    usage=Usage(input=100, cache_read=40, cache_write_5m=5, cache_write_1h=6, output=30, reasoning=10),
    seconds=1.5,
    first_byte_s=0.25,
    request_id="req_1",
)


@asynccontextmanager
async def telemetry(collector: FakeCollector, ids: RequestIds | None = None) -> AsyncGenerator[otel.OtlpTelemetry]:
    """Telemetry in the context of a request; closed, and so flushed, at the end."""
    built = build_telemetry(collector.url)
    assert isinstance(built, otel.OtlpTelemetry)
    built._clock_ns = lambda: 10_000_000_000
    token = current.set(ids or request_ids(None, f"00-{TRACE}-{PARENT}-01"))
    try:
        yield built
    finally:
        current.reset(token)
        await built.aclose()


async def test_an_attempt_is_a_span_under_the_callers_span() -> None:
    """A span has the caller's trace and span above it, the attempt's times, and the names of the conventions."""
    with FakeCollector() as collector:
        async with telemetry(collector) as observer:
            observer.observe(ANSWERED)
        (span,) = collector.spans
    assert (span.trace_id.hex(), span.parent_span_id.hex(), span.name) == (TRACE, PARENT, "chat claude-x")
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (8_500_000_000, 10_000_000_000)
    assert (span.kind, span.status.code) == (span.SPAN_KIND_CLIENT, span.status.STATUS_CODE_UNSET)
    assert plain(span.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "claude-x",
        "gen_ai.response.model": "claude-x-20260101",
        "gen_ai.usage.input_tokens": 151,
        "gen_ai.usage.output_tokens": 30,
        "gen_ai.usage.cache_read.input_tokens": 40,
        "gen_ai.usage.cache_creation.input_tokens": 11,
        "gen_ai.usage.reasoning.output_tokens": 10,
        "assay.usage.estimated": False,
        "gen_ai.request.stream": True,
        "gen_ai.response.time_to_first_chunk": 0.25,
        "assay.provider.request_id": "req_1",
    }


async def test_a_failed_attempt_is_an_error_and_a_cancelled_one_is_none() -> None:
    """`error.type` names how an attempt ended; only what failed has the status of an error."""
    with FakeCollector() as collector:
        async with telemetry(collector) as observer:
            for outcome in ("Overloaded", "cancelled"):
                observer.observe(Attempt(provider="p", model="m", asked_model="m", outcome=outcome))
        seen = {plain(span.attributes)["error.type"]: span.status.code for span in collector.spans}
    assert seen == {"Overloaded": 2, "cancelled": 0}


async def test_a_trace_that_nobody_began_has_the_id_of_the_logs() -> None:
    """Without a traceparent the span is a root of the trace that logs and audit entries name."""
    ids = request_ids(None, None)
    with FakeCollector() as collector:
        async with telemetry(collector, ids) as observer:
            observer.observe(ANSWERED)
        (span,) = collector.spans
    assert (span.trace_id.hex(), span.parent_span_id) == (ids.trace_id, b"")


async def test_outside_of_a_request_each_attempt_is_a_trace() -> None:
    """A ping or a judge's attempt has a trace of its own."""
    with FakeCollector() as collector:
        async with telemetry(collector, RequestIds(request_id="", trace_id="")) as observer:
            observer.observe(ANSWERED)
            observer.observe(ANSWERED)
        assert len({span.trace_id for span in collector.spans}) == 2


async def test_a_caller_who_keeps_no_trace_gets_none() -> None:
    """The caller's sampling decision holds for spans, and measurements are kept all the same."""
    with FakeCollector() as collector:
        async with telemetry(collector, request_ids(None, f"00-{TRACE}-{PARENT}-00")) as observer:
            observer.observe(ANSWERED)
        assert collector.spans == []
        assert collector.points["gen_ai.client.operation.duration"][0].count == 1


async def test_measurements_carry_durations_and_reported_tokens() -> None:
    """Durations of every attempt are measured, tokens only where the vendor counted them."""
    estimated = Attempt(
        provider="anthropic",
        model="claude-x",
        asked_model="claude-x",
        usage=Usage(input=9, output=9),
        estimated=True,
        outcome="TimedOut",
        seconds=2.0,
    )
    with FakeCollector() as collector:
        async with telemetry(collector) as observer:
            observer.observe(ANSWERED)
            observer.observe(estimated)
        points = collector.points
    series = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "claude-x",
        "gen_ai.response.model": "claude-x-20260101",
    }
    failed = series | {"gen_ai.response.model": "claude-x", "error.type": "TimedOut"}
    assert _sums(points["gen_ai.client.operation.duration"]) == [(series, 1.5), (failed, 2.0)]
    assert _sums(points["gen_ai.client.operation.time_to_first_chunk"]) == [(series, 0.25)]
    assert _sums(points["gen_ai.client.token.usage"]) == [
        (series | {"gen_ai.token.type": "output"}, 30.0),
        (series | {"gen_ai.token.type": "input"}, 151.0),
    ]


async def test_two_processes_are_two_instances() -> None:
    """Each process has a name of its own, so that a collector does not mix the sums of several workers."""
    with FakeCollector() as collector:
        for _ in range(2):
            async with telemetry(collector) as observer:
                observer.observe(ANSWERED)
        resources = [plain(request.resource_metrics[0].resource.attributes) for request in collector.metrics]
    assert {resource["service.name"] for resource in resources} == {"assay"}
    assert len({resource["service.instance.id"] for resource in resources}) == 2


async def test_a_stalled_collector_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a collector does not answer, attempts go on, spans beyond the queue are dropped, and closing ends."""
    monkeypatch.setattr(otel, "CLOSE_S_MAX", 0.1)
    offered = 2 * otel.QUEUE_MAX
    with FakeCollector() as collector:
        collector.answering.clear()
        async with telemetry(collector) as observer:
            for _ in range(offered):
                observer.observe(ANSWERED)
        assert collector.asked.is_set()
        assert not collector.answering.is_set()
        queue: Any = observer._tracers._active_span_processor._span_processors[0]
        assert len(queue._batch_processor._queue) <= otel.QUEUE_MAX
        collector.answering.set()
        assert len(collector.spans) < offered


async def test_a_dead_collector_fails_no_attempt(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nobody at the address attempts go on, and the log says that spans were lost."""
    monkeypatch.setattr(otel, "CLOSE_S_MAX", 0.3)
    with FakeCollector() as collector:
        pass
    with caplog.at_level(logging.WARNING):
        async with telemetry(collector) as observer:
            observer.observe(ANSWERED)
    assert "spans batch" in caplog.text


async def test_what_a_vendor_names_is_cut_and_spoils_no_batch() -> None:
    """A long model name is cut, and a broken one is sent readable, so that other spans still arrive."""
    with FakeCollector() as collector:
        async with telemetry(collector) as observer:
            for named in ("x" * 1000, "broken \ud800 name"):
                observer.observe(Attempt(provider="p", model=named, asked_model="m", request_id=named))
        seen = sorted(str(plain(span.attributes)["gen_ai.response.model"]) for span in collector.spans)
    assert seen == ["broken ? name", "x" * otel.VALUE_CHARS_MAX]


def _sums(points: list[Any]) -> list[tuple[dict[str, Any], float]]:
    return sorted(((plain(point.attributes), point.sum) for point in points), key=lambda row: row[1])
