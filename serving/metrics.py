"""What Prometheus is told. Each metric has its heading in docs/metrics.md.

With several workers each process writes its numbers into files of one directory and any of them renders all. The
library decides this when it is imported, by PROMETHEUS_MULTIPROC_DIR, which `serving.server` sets before it starts
the workers.
"""

import os
from collections.abc import Generator
from contextlib import contextmanager
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.multiprocess import mark_process_dead as _mark_dead  # pyright: ignore[reportUnknownVariableType] - untyped

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
SHARED_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """The metrics of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "assay_http_requests", "HTTP requests answered.", ("method", "route", "status"), registry=self.registry
        )
        self.request_seconds = Histogram(
            "assay_http_request_seconds",
            "Time to answer an HTTP request.",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "assay_http_in_flight",
            "HTTP requests being worked on.",
            multiprocess_mode="livesum",
            registry=self.registry,
        )
        self.insights = Counter(
            "assay_insights",
            "Calls for an insight by how they ended.",
            ("use_case", "outcome"),
            registry=self.registry,
        )
        self.claims = Counter(
            "assay_claims", "Claims in served answers.", ("use_case", "grounded"), registry=self.registry
        )
        self.stage_seconds = Histogram(
            "assay_insight_stage_seconds",
            "Time of each step of an insight.",
            ("stage",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.tokens = Counter(
            "assay_tokens", "Tokens as billed.", ("provider", "model", "bucket"), registry=self.registry
        )
        self.cost = Counter(
            "assay_cost_nano_usd", "Cost of answers in nano-USD.", ("provider", "model"), registry=self.registry
        )
        self.prompt_version = Gauge(
            "assay_prompt_version",
            "Prompt version being served.",
            ("prompt", "alias"),
            multiprocess_mode="livemax",
            registry=self.registry,
        )
        self.prompt_refresh_failures = Counter(
            "assay_prompt_refresh_failures",
            "Times a prompt could not be read from MLflow.",
            ("prompt", "alias", "reason"),
            registry=self.registry,
        )
        self.prompt_tampered = Gauge(
            "assay_prompt_tampered",
            "1 while MLflow offers a version whose content changed after release.",
            ("prompt", "alias"),
            multiprocess_mode="livemax",
            registry=self.registry,
        )
        self.background_crashes = Counter(
            "assay_background_crashes", "Background tasks that had to be restarted.", ("task",), registry=self.registry
        )

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
            return generate_latest(self.registry)
        everyone = CollectorRegistry()
        MultiProcessCollector(everyone)
        return generate_latest(everyone)

    def close(self) -> None:
        """Take this process's gauges out of the shared directory."""
        if SHARED_DIRECTORY in os.environ:
            _mark_dead(os.getpid())
