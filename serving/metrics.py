"""What Prometheus is told. Each metric has its heading in docs/metrics.md.

With several workers each process writes its numbers into files of one directory and any of them renders all. The
library decides this when it is imported, by PROMETHEUS_MULTIPROC_DIR, which `serving.server` sets before it starts
the workers.
"""

import os
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.multiprocess import mark_process_dead as _mark_dead  # pyright: ignore[reportUnknownVariableType] - untyped
from prometheus_client.registry import Collector

from registry.messages import Attempt

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
SHARED_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"

EXPERIMENT_LIVE = "assay_experiment_live"
BREAKER_STATES = ("closed", "half_open", "open")
"""In the order of the gauge's values."""

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """The metrics of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._counter("assay_http_requests", "HTTP requests answered.", "method", "route", "status")
        self.request_seconds = self._seconds("assay_http_request_seconds", "Time to answer an HTTP request.", "route")
        self.in_flight = self._gauge("assay_http_in_flight", "HTTP requests being worked on.", mode="livesum")
        self.insights = self._counter(
            "assay_insights", "Calls for an insight by how they ended.", "use_case", "outcome"
        )
        self.claims = self._counter("assay_claims", "Claims in served answers.", "use_case", "grounded")
        self.stage_seconds = self._seconds("assay_insight_stage_seconds", "Time of each step of an insight.", "stage")
        self.tokens = self._counter("assay_tokens", "Tokens as billed.", "provider", "model", "bucket")
        self.cost = self._counter("assay_cost_nano_usd", "Cost of answers in nano-USD.", "provider", "model")
        self.prompt_version = self._gauge(
            "assay_prompt_version", "Prompt version being served.", "prompt", "alias", mode="livemax"
        )
        self.prompt_refresh_failures = self._counter(
            "assay_prompt_refresh_failures",
            "Times a prompt could not be read from MLflow.",
            "prompt",
            "alias",
            "reason",
        )
        self.prompt_unproven = self._gauge(
            "assay_prompt_unproven",
            "1 while an alias points at what may not serve, or nowhere; what was let through before serves.",
            "prompt",
            "alias",
            mode="livemax",
        )
        self.prompt_tampered = self._gauge(
            "assay_prompt_tampered",
            "1 while MLflow offers a version whose content changed after release.",
            "prompt",
            "alias",
            mode="livemax",
        )
        self.background_crashes = self._counter(
            "assay_background_crashes", "Background tasks that had to be restarted.", "task"
        )
        self.experiment_live = self._gauge(
            EXPERIMENT_LIVE, "Workers that give units this arm of an experiment.", "experiment", "arm", mode="livesum"
        )
        self._arms = frozenset[tuple[str, str]]()
        self._declare_providers()

    def _declare_providers(self) -> None:
        at = ("provider", "model")
        self.attempts = self._counter("assay_provider_attempts", "Requests to a model.", *at, "outcome")
        self.attempt_seconds = self._seconds("assay_provider_attempt_seconds", "Time of a whole answer.", *at)
        self.first_byte_seconds = self._seconds(
            "assay_provider_first_byte_seconds", "Time until a streamed answer begins.", *at
        )
        self.provider_events = self._counter(
            "assay_provider_events", "What was done beyond asking once.", "provider", "event"
        )
        self.provider_pings = self._counter("assay_provider_pings", "Active probes.", "provider", "outcome")
        # All workers share the breaker, so whoever looked last is right.
        self.breaker_state = self._gauge(
            "assay_provider_breaker_state", "0 closed, 1 half-open, 2 open.", *at, mode="livemostrecent"
        )
        self.provider_running = self._gauge(
            "assay_provider_running", "Requests at a provider now.", "provider", mode="livesum"
        )
        self.provider_waiting = self._gauge(
            "assay_provider_waiting", "Requests that wait for their turn at a provider.", "provider", mode="livesum"
        )

    def observe_attempt(self, attempt: Attempt) -> None:
        """Count one request to a model, however it ended."""
        at = (attempt.provider, attempt.asked_model)
        self.attempts.labels(*at, attempt.outcome).inc()
        if attempt.first_byte_s is not None:
            self.first_byte_seconds.labels(*at).observe(attempt.first_byte_s)
        if attempt.outcome == "answered":
            self.attempt_seconds.labels(*at).observe(attempt.seconds)

    def count_provider_event(self, provider: str, event: str) -> None:
        """Count what was done beyond asking a provider once."""
        self.provider_events.labels(provider, event).inc()

    def show_provider(self, provider: str, model: str, state: str, running: int, waiting: int) -> None:
        """Set the gauges of a provider; `state` is the breaker's."""
        self.breaker_state.labels(provider, model).set(BREAKER_STATES.index(state))
        self.provider_running.labels(provider).set(running)
        self.provider_waiting.labels(provider).set(waiting)

    def show_arms(self, live: Iterable[tuple[str, str]]) -> None:
        """Set which arms this process serves: (experiment, arm)."""
        arms = frozenset(live)
        for arm in sorted(arms | self._arms):
            self.experiment_live.labels(*arm).set(arm in arms)
        self._arms = arms

    @contextmanager
    def stage(self, name: str) -> Generator[None]:
        """Time one step of an insight."""
        started = perf_counter()
        try:
            yield
        finally:
            self.stage_seconds.labels(name).observe(perf_counter() - started)

    def render(self) -> bytes:
        """All metrics in Prometheus' text format; of all workers when there are several."""
        if SHARED_DIRECTORY not in os.environ:
            return generate_latest(_OnlyLive(self.registry))
        _forget_dead(Path(os.environ[SHARED_DIRECTORY]))
        everyone = CollectorRegistry()
        MultiProcessCollector(everyone)
        return generate_latest(_OnlyLive(everyone))

    def close(self) -> None:
        """Take this process's gauges out of the shared directory."""
        if SHARED_DIRECTORY in os.environ:
            _mark_dead(os.getpid())

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(name, meaning, labels, registry=self.registry)

    def _gauge(
        self, name: str, meaning: str, *labels: str, mode: Literal["livesum", "livemax", "livemostrecent"]
    ) -> Gauge:
        return Gauge(name, meaning, labels, multiprocess_mode=mode, registry=self.registry)

    def _seconds(self, name: str, meaning: str, *labels: str) -> Histogram:
        return Histogram(name, meaning, labels, buckets=_SECONDS, registry=self.registry)


class _OnlyLive(Collector):
    """What a registry collects, without experiments that are over: the library cannot take a label out of its files."""

    def __init__(self, registry: Collector) -> None:
        self._registry = registry

    def collect(self) -> Iterable[Metric]:
        for family in self._registry.collect():
            if family.name == EXPERIMENT_LIVE:
                family.samples = [sample for sample in family.samples if sample.value]
            yield family


def _forget_dead(directory: Path) -> None:
    """Take out the gauges of workers that were killed and could not do it themselves."""
    for process in {int(file.stem.rpartition("_")[2]) for file in directory.glob("gauge_live*_[0-9]*.db")}:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            _mark_dead(process)
        except PermissionError:  # alive, and another user's
            continue
