"""How the providers are: the report of `GET /v1/providers`, and the pings that find out when nobody else asks."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta

from registry.alarms import Alarm
from registry.errors import JsonValue
from serving.metrics import Metrics
from serving.providers.base import ProviderError
from serving.providers.breaker import Breaker
from serving.providers.chain import Link
from serving.providers.circuit import WINDOW_S
from serving.providers.latency import Latencies

logger = logging.getLogger(__name__)

LOOK_S = 5.0
"""How often a worker looks whether a ping is due; also the age of the gauges that other workers show."""
ALARM_KIND = "provider-"
"""How the kinds of alarms about providers begin; their subject is `provider/model`."""


def report(links: Sequence[Link], alarms: Iterable[Alarm] | None, now: datetime) -> list[dict[str, JsonValue]]:
    """One entry a provider, in the order in which they are asked; all workers of the node together.

    `alarms` None: nobody knows whether there are any.
    """
    found = None if alarms is None else [alarm for alarm in alarms if alarm.kind.startswith(ALARM_KIND)]
    return [_entry(position, link, found, now) for position, link in enumerate(links, 1)]


def show_providers(links: Sequence[Link], metrics: Metrics) -> None:
    """Bring the gauges of this process up to date."""
    for link in links:
        metrics.show_provider(link.name, link.model, link.slot.state, link.limit.running, link.limit.waiting)


class ProviderProbe:
    """Pings providers that nobody asks, so that a dead one is known before its first request.

    Each ping is sent by one worker of the node, at most once a minute, and costs no tokens. Its outcome is the
    breaker's: see `Breaker.ping`.

    Args:
        links: the providers.
        metrics: whose gauges it keeps up to date by the way.
        idle_s: how long nobody asked a provider before it is pinged; 0 pings never.
        sleep: waits between two looks.
    """

    def __init__(
        self,
        links: Sequence[Link],
        metrics: Metrics,
        *,
        idle_s: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._links = links
        self._metrics = metrics
        self._idle_s = idle_s
        self._sleep = sleep

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self._sleep(LOOK_S)
            show_providers(self._links, self._metrics)
            if self._idle_s > 0:
                await self.ping_idle()

    async def ping_idle(self) -> None:
        """Ping, one after the other, the providers whose turn it is."""
        for link in self._links:
            if not link.slot.claim_ping(self._idle_s):
                continue
            outcome = "answered"
            try:
                await Breaker(link.vendor, link.slot).ping()
            except ProviderError as error:  # the slot knows
                outcome = type(error).__name__
                logger.warning("provider %s did not answer a ping: %s", link.name, outcome)
            self._metrics.provider_pings.labels(link.name, outcome).inc()


def _entry(position: int, link: Link, alarms: Sequence[Alarm] | None, now: datetime) -> dict[str, JsonValue]:
    seen = link.slot.read()

    def at(ago_s: float | None) -> str | None:
        return None if ago_s is None else _when(now - timedelta(seconds=ago_s))

    changed: JsonValue = {"from": seen.model_before, "at": at(seen.model_changed_ago_s)} if seen.model_before else None
    subject = f"{link.name}/{link.model}"
    shown: list[JsonValue] = [_shown(alarm) for alarm in alarms or () if alarm.subject == subject]
    return {
        "provider": link.name,
        "model": link.model,
        "position": position,
        "state": seen.state,
        "retry_after_s": round(seen.retry_after_s, 3) or None,
        "window": {
            "seconds": WINDOW_S,
            "calls": seen.calls,
            "failed": seen.failed,
            "failure_rate": round(seen.failed / seen.calls, 4) if seen.calls else None,
        },
        "latency": _percentiles(seen.whole),
        "first_byte": _percentiles(seen.first_byte),
        "last_attempt_at": at(seen.attempt_ago_s),
        "last_error": {"kind": seen.error, "at": at(seen.error_ago_s)} if seen.error else None,
        "answering_model": seen.model,
        "model_changed": changed,
        "alarms": None if alarms is None else shown,
    }


def _percentiles(seen: Latencies) -> dict[str, JsonValue]:
    p50_s, p95_s = seen.quantile_s(0.5), seen.quantile_s(0.95)
    return {
        "p50_ms": None if p50_s is None else round(p50_s * 1000, 1),
        "p95_ms": None if p95_s is None else round(p95_s * 1000, 1),
        "n": seen.n,
    }


def _shown(alarm: Alarm) -> dict[str, JsonValue]:
    return {
        "id": alarm.id,
        "kind": alarm.kind,
        "severity": alarm.severity,
        "opened_at": _when(datetime.fromtimestamp(alarm.opened_ms / 1000, UTC)),
        "details": dict(alarm.details),
    }


def _when(at: datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")
