"""How the providers are: the report, the probe, readiness and metrics."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from fakes.acting_provider import Act, ActingProvider, request
from fakes.virtual_clock import on_virtual_clock

from registry.messages import Attempt, Completion, CompletionRequest
from serving.metrics import Metrics
from serving.providers.base import Overloaded, ProviderError, Unreachable
from serving.providers.board import Board
from serving.providers.chain import Chain, Link
from serving.providers.health import ProviderProbe, report
from serving.readiness import provider_probe

NOW = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)


@dataclass
class Vendor:
    """A provider that is only pinged."""

    name: str = "p"
    model: str = "m"
    error: ProviderError | None = None
    pinged: int = 0

    async def complete(self, request: CompletionRequest) -> Completion:
        """Nobody asks here."""
        raise AssertionError

    def stream(self, request: CompletionRequest) -> Any:
        """Nor here."""
        raise AssertionError

    async def ping(self) -> None:
        """Count it."""
        self.pinged += 1
        if self.error is not None:
            raise self.error

    async def aclose(self) -> None:
        """Nothing to close."""


def links(*vendors: Vendor) -> tuple[Link, ...]:
    """The links of a chain on the running loop's clock."""
    loop = asyncio.get_running_loop()
    return Chain(vendors, board=Board.private(lambda: int(loop.time() * 1e9))).links


def open_breaker(link: Link) -> None:
    """As after a failed ping."""
    ticket = link.slot.enter(1)
    assert ticket is not None
    link.slot.change(lambda circuit, now_ns: circuit.failed(now_ns, ticket, at_once=True))


class TestReport:
    """What `GET /v1/providers` says."""

    @on_virtual_clock
    async def test_a_provider_nobody_asked_has_no_figures(self) -> None:
        """Null, not zero."""
        assert report(links(Vendor()), [], NOW) == [
            {
                "provider": "p",
                "model": "m",
                "position": 1,
                "state": "closed",
                "retry_after_s": None,
                "window": {"seconds": 30, "calls": 0, "failed": 0, "failure_rate": None},
                "latency": {"p50_ms": None, "p95_ms": None, "n": 0},
                "first_byte": {"p50_ms": None, "p95_ms": None, "n": 0},
                "last_attempt_at": None,
                "last_error": None,
                "answering_model": None,
                "model_changed": None,
                "alarms": [],
            }
        ]

    @on_virtual_clock
    async def test_ages_become_times(self) -> None:
        """The board's clock knows no dates; the report does."""
        (link,) = links(Vendor())
        link.slot.observe(Attempt(provider="p", model="m-1", asked_model="m", seconds=0.1))
        link.slot.observe(Attempt(provider="p", model="m-2", asked_model="m", seconds=0.1))
        link.slot.observe(Attempt(provider="p", model="m", asked_model="m", outcome="Overloaded"))
        await asyncio.sleep(60)
        (entry,) = report([link], [], NOW)
        assert entry["last_attempt_at"] == "2026-11-23T09:29:00Z"
        assert entry["last_error"] == {"kind": "Overloaded", "at": "2026-11-23T09:29:00Z"}
        assert entry["model_changed"] == {"from": "m-1", "at": "2026-11-23T09:29:00Z"}
        assert entry["answering_model"] == "m-2"
        assert entry["latency"] == {
            "p50_ms": pytest.approx(100, rel=0.05),
            "p95_ms": pytest.approx(100, rel=0.05),
            "n": 2,
        }

    @on_virtual_clock
    async def test_an_open_breaker_says_for_how_long(self) -> None:
        """With the window that opened it."""
        first, second = links(Vendor(), Vendor("q"))
        open_breaker(second)
        _, entry = report([first, second], None, NOW)
        assert (entry["position"], entry["state"], entry["retry_after_s"], entry["alarms"]) == (2, "open", 5.0, None)
        assert entry["window"] == {"seconds": 30, "calls": 1, "failed": 1, "failure_rate": 1.0}


class TestProbe:
    """Pings when nobody else asks."""

    @on_virtual_clock
    async def test_an_idle_dead_provider_is_known_before_anybody_asks(self) -> None:
        """Its breaker is open when the first request comes."""
        dead, alive = Vendor("p", error=Overloaded("x")), Vendor("q")
        chain = links(dead, alive)
        metrics = Metrics()
        probe = asyncio.create_task(ProviderProbe(chain, metrics, idle_s=60.0).run())
        await asyncio.sleep(7)
        probe.cancel()
        assert (dead.pinged, alive.pinged) == (1, 1)
        assert [link.slot.state for link in chain] == ["open", "closed"]
        text = metrics.render().decode()
        assert 'assay_provider_pings_total{outcome="Overloaded",provider="p"} 1.0' in text
        assert 'assay_provider_pings_total{outcome="answered",provider="q"} 1.0' in text

    @on_virtual_clock
    async def test_a_provider_under_traffic_is_left_in_peace(self) -> None:
        """Traffic says more than a ping."""
        (link,) = links(vendor := Vendor())
        probe = asyncio.create_task(ProviderProbe([link], Metrics(), idle_s=60.0).run())
        for _ in range(30):
            link.slot.observe(Attempt(provider="p", model="m", asked_model="m"))
            await asyncio.sleep(20)
        probe.cancel()
        assert vendor.pinged == 0

    @on_virtual_clock
    async def test_an_idle_hour_costs_sixty_pings(self) -> None:
        """Also while they fail, and however many workers look."""
        chain = links(vendor := Vendor(error=Overloaded("x")))
        probes = [asyncio.create_task(ProviderProbe(chain, Metrics(), idle_s=10.0).run()) for _ in range(4)]
        await asyncio.sleep(3_600)
        for probe in probes:
            probe.cancel()
        assert 40 <= vendor.pinged <= 60
        assert chain[0].slot.state != "closed"

    @on_virtual_clock
    async def test_switched_off_it_only_shows(self) -> None:
        """No ping, but the gauges are kept up to date."""
        (link,) = links(vendor := Vendor())
        metrics = Metrics()
        probe = asyncio.create_task(ProviderProbe([link], metrics, idle_s=0).run())
        open_breaker(link)
        await asyncio.sleep(7)
        probe.cancel()
        assert vendor.pinged == 0
        assert "assay_provider_breaker_state" in metrics.render().decode()


class TestReadiness:
    """What the breakers mean for the process."""

    @on_virtual_clock
    async def test_the_preferred_provider_failing_degrades(self) -> None:
        """Answers go on, from the others."""
        chain = links(Vendor("p"), Vendor("q"))
        assert (await provider_probe(chain)()).state == "ok"
        open_breaker(chain[0])
        assert (await provider_probe(chain)()).state == "degraded"

    @on_virtual_clock
    async def test_all_failing_is_down_until_one_may_be_asked_again(self) -> None:
        """A process taken out of traffic comes back by itself."""
        chain = links(Vendor("p"), Vendor("q"))
        for link in chain:
            open_breaker(link)
        assert (await provider_probe(chain)()).state == "down"
        await asyncio.sleep(5)
        assert (await provider_probe(chain)()).state == "degraded"

    @on_virtual_clock
    async def test_without_traffic_and_pings_it_is_up_again_within_a_minute(self) -> None:
        """A balancer that took every process out sends requests again, and the first one that is answered is enough."""
        loop = asyncio.get_running_loop()
        vendor = ActingProvider(acts=[*[Act(pieces=(), error=Overloaded("x"))] * 30, Act()])
        chain = Chain([vendor], board=Board.private(lambda: int(loop.time() * 1e9)))
        while len(vendor.requests) < 30:  # until the cool-downs are as long as they get
            with suppress(ProviderError):
                await chain.complete(request(60))
            await asyncio.sleep(1)
        assert (await provider_probe(chain.links)()).state == "down"
        for _ in range(60):  # nobody asks
            await asyncio.sleep(60)
            assert (await provider_probe(chain.links)()).state == "degraded"
        await chain.complete(request(60))
        assert (await provider_probe(chain.links)()).state == "ok"

    @on_virtual_clock
    async def test_a_ping_that_always_fails_leaves_time_for_traffic(self) -> None:
        """Between two pings a balancer sees a process that is up for long enough to send it a request."""
        chain = links(Vendor(error=Unreachable("x")))
        probe = asyncio.create_task(ProviderProbe(chain, Metrics(), idle_s=60.0).run())
        await asyncio.sleep(600)
        seen = ""
        for _ in range(600):
            await asyncio.sleep(1)
            seen += "d" if (await provider_probe(chain)()).state == "down" else "u"
        probe.cancel()
        assert min(len(up) for up in seen.strip("u").replace("d", " ").split()) >= 15


class TestMetrics:
    """What Prometheus is told of an attempt."""

    def test_an_attempt_is_counted_by_how_it_ended(self) -> None:
        """Times only where there is one."""
        metrics = Metrics()
        metrics.observe_attempt(
            Attempt(provider="p", model="m-1", asked_model="m", seconds=2.0, streamed=True, first_byte_s=0.4)
        )
        metrics.observe_attempt(Attempt(provider="p", model="m", asked_model="m", outcome="Overloaded", seconds=0.1))
        metrics.count_provider_event("p", "retried")
        text = metrics.render().decode()
        assert 'assay_provider_attempts_total{model="m",outcome="answered",provider="p"} 1.0' in text
        assert 'assay_provider_attempts_total{model="m",outcome="Overloaded",provider="p"} 1.0' in text
        assert 'assay_provider_attempt_seconds_sum{model="m",provider="p"} 2.0' in text
        assert 'assay_provider_first_byte_seconds_sum{model="m",provider="p"} 0.4' in text
        assert 'assay_provider_events_total{event="retried",provider="p"} 1.0' in text
