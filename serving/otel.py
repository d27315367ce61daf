"""Attempts in OpenTelemetry's words: one span and a few measurements each, sent by OTLP over HTTP.

The one place that knows the names of the GenAI conventions, which still move, and the one that imports the SDK.
Neither prompt nor answer is ever an attribute. Nothing here is global: another use of OpenTelemetry in the same
process is left alone.

Source of the names: gen-ai-spans.md and gen-ai-metrics.md of
https://github.com/open-telemetry/semantic-conventions-genai.
"""

import asyncio
import ipaddress
import logging
import time
import uuid
from collections.abc import Callable
from importlib.metadata import version
from threading import Thread
from typing import Final
from urllib.parse import urlsplit

import requests
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from registry.messages import Attempt
from serving.request_context import RequestIds, current

logger = logging.getLogger(__name__)

QUEUE_MAX = 2048
"""Spans that wait to be sent; with a dead collector the oldest are dropped beyond it."""
EXPORT_S_MAX = 5.0
"""Longest time one batch is tried, in the threads that send."""
CLOSE_S_MAX = 2.0
VALUE_CHARS_MAX = 128
"""Vendors name models and requests; what they say is cut here."""

_CHAT: Final = "chat"
_ANSWERED: Final = "answered"
_CANCELLED: Final = "cancelled"
# The boundaries that the conventions advise.
_SECONDS = [0.01 * 2**power for power in range(14)]
_TOKENS = [float(4**power) for power in range(14)]


def span_attributes(attempt: Attempt) -> dict[str, str | int | float | bool]:
    """What a span says about an attempt.

    `gen_ai.usage.input_tokens` includes what was read from or written to the vendor's cache, as the conventions ask;
    our own `Usage.input` does not.
    """
    usage, written = attempt.usage, attempt.usage.cache_write_5m + attempt.usage.cache_write_1h
    attributes: dict[str, str | int | float | bool] = {
        **metric_attributes(attempt),
        "gen_ai.usage.input_tokens": attempt.usage.prompt,
        "gen_ai.usage.output_tokens": usage.output,
        "gen_ai.usage.cache_read.input_tokens": usage.cache_read,
        "gen_ai.usage.cache_creation.input_tokens": written,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning,
        "assay.usage.estimated": attempt.estimated,
    }
    if attempt.first_byte_s is not None:
        attributes["gen_ai.request.stream"] = True
        attributes["gen_ai.response.time_to_first_chunk"] = attempt.first_byte_s
    if attempt.request_id is not None:
        attributes["assay.provider.request_id"] = _cut(attempt.request_id)
    return attributes


def metric_attributes(attempt: Attempt) -> dict[str, str]:
    """What tells one series of measurements from another; `error.type` is absent when the attempt was answered."""
    attributes = {
        "gen_ai.operation.name": _CHAT,
        "gen_ai.provider.name": attempt.provider,
        "gen_ai.request.model": attempt.asked_model,
        "gen_ai.response.model": _cut(attempt.model),
    }
    if attempt.outcome != _ANSWERED:
        attributes["error.type"] = attempt.outcome
    return attributes


class OtlpTelemetry:
    """Keeps the promises of `serving.telemetry.Telemetry` with the SDK's own queues, threads and exporters."""

    def __init__(self, endpoint: str, *, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._clock_ns = clock_ns
        resource = Resource.create(
            # One name for each process: the sums of several workers would overwrite each other.
            {"service.name": "assay", "service.version": version("assay"), "service.instance.id": str(uuid.uuid4())}
        )
        base, session = endpoint.rstrip("/"), _session(endpoint)
        spans = OTLPSpanExporter(f"{base}/v1/traces", timeout=EXPORT_S_MAX, session=session)
        self._tracers = TracerProvider(resource=resource, id_generator=_RequestTraceIds(), shutdown_on_exit=False)
        self._tracers.add_span_processor(BatchSpanProcessor(spans, max_queue_size=QUEUE_MAX))
        # A session belongs to one thread.
        sums = OTLPMetricExporter(f"{base}/v1/metrics", timeout=EXPORT_S_MAX, session=_session(endpoint))
        self._meters = MeterProvider(
            [PeriodicExportingMetricReader(sums)],
            resource=resource,
            exemplar_filter=AlwaysOffExemplarFilter(),
            shutdown_on_exit=False,
        )
        self._tracer = self._tracers.get_tracer("assay", version("assay"))
        meter = self._meters.get_meter("assay", version("assay"))
        self._duration = meter.create_histogram(
            "gen_ai.client.operation.duration",
            "s",
            "Duration of an attempt.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._first_chunk = meter.create_histogram(
            "gen_ai.client.operation.time_to_first_chunk",
            "s",
            "Time to the first piece of a streamed answer.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage", "{token}", "Tokens of an attempt.", explicit_bucket_boundaries_advisory=_TOKENS
        )

    def observe(self, attempt: Attempt) -> None:
        """One span and two to four measurements."""
        ended_ns = self._clock_ns()
        span = self._tracer.start_span(
            f"{_CHAT} {attempt.asked_model}",
            context=_caller(current.get()),
            kind=SpanKind.CLIENT,
            attributes=span_attributes(attempt),
            start_time=ended_ns - int(attempt.seconds * 1e9),
        )
        # Cancelling is no fault: a hedge that lost, or a client that went away.
        if attempt.outcome not in {_ANSWERED, _CANCELLED}:
            span.set_status(Status(StatusCode.ERROR))
        span.end(ended_ns)
        self._measure(attempt)

    async def aclose(self) -> None:
        """Send what is left and stop, within CLOSE_S_MAX."""
        await asyncio.to_thread(self._close)

    def _measure(self, attempt: Attempt) -> None:
        attributes = metric_attributes(attempt)
        self._duration.record(attempt.seconds, attributes)
        if attempt.first_byte_s is not None:
            self._first_chunk.record(attempt.first_byte_s, attributes)
        # The conventions admit counts of the vendor's only.
        if not attempt.estimated and (tokens := attempt.usage.prompt):
            self._tokens.record(tokens, {**attributes, "gen_ai.token.type": "input"})
        if not attempt.estimated and attempt.usage.output:
            self._tokens.record(attempt.usage.output, {**attributes, "gen_ai.token.type": "output"})

    def _close(self) -> None:
        # The SDK's shutdown waits up to 30 s for a request that is under way; a daemon thread may be left behind.
        threads = [
            Thread(target=_shut_down, args=(part,), name="otel-close", daemon=True)
            for part in (self._tracers.shutdown, self._meters.shutdown)
        ]
        ends = time.monotonic() + CLOSE_S_MAX
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(ends - time.monotonic(), 0.0))


def _shut_down(part: Callable[[], None]) -> None:
    try:
        part()
    except Exception as error:  # noqa: BLE001 - the process ends; what could not be sent is lost either way
        logger.warning("telemetry did not end well: %s", type(error).__name__)


class _RequestTraceIds(IdGenerator):
    """A trace that nobody began before us has the id that logs and audit entries show."""

    def __init__(self) -> None:
        self._random = RandomIdGenerator()

    def generate_trace_id(self) -> int:
        return int(current.get().trace_id or "0", 16) or self._random.generate_trace_id()

    def generate_span_id(self) -> int:
        return self._random.generate_span_id()


_NO_CALLER = Context()


def _caller(ids: RequestIds) -> Context:
    """The caller's span as the parent, by the W3C traceparent header; none when there was none."""
    if not ids.parent_id:
        return _NO_CALLER
    flags = TraceFlags(TraceFlags.SAMPLED if ids.sampled else TraceFlags.DEFAULT)
    parent = SpanContext(int(ids.trace_id, 16), int(ids.parent_id, 16), is_remote=True, trace_flags=flags)
    return set_span_in_context(NonRecordingSpan(parent), _NO_CALLER)


def _session(endpoint: str) -> requests.Session:
    session = requests.Session()
    host = urlsplit(endpoint).hostname or ""
    # A proxy cannot reach this machine's loopback.
    session.trust_env = not (host == "localhost" or _is_loopback(host))
    return session


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _cut(text: str) -> str:
    """What a vendor said, as an attribute: short, and free of the lone surrogates that would spoil a whole batch."""
    return text[:VALUE_CHARS_MAX].encode("utf-8", "replace").decode()
