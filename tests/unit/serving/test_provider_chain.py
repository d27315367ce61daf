"""The chain of providers: how its wrappers work together, and what a start refuses."""

import asyncio
import subprocess
import sys
import traceback
from contextlib import aclosing
from pathlib import Path

import pytest
from fakes.acting_provider import FOREVER_S, USAGE, Act, ActingProvider, request
from fakes.virtual_clock import on_virtual_clock
from pydantic import SecretStr

from registry.errors import InvalidInput
from registry.messages import Attempt, Completion, Usage
from serving.providers.base import Garbled, Overloaded, SchemaFailure, Unreachable, retry_after_s, translate
from serving.providers.board import Board
from serving.providers.chain import Chain
from serving.providers.fallback import ProvidersUnavailable
from serving.providers.vendors import ProviderPolicy, build_vendors


def virtual_ns() -> int:
    """The board's clock on the loop's time."""
    return round(asyncio.get_running_loop().time() * 1e9)


class TestWrappers:
    """What a chain puts around its vendors."""

    @on_virtual_clock
    async def test_every_attempt_is_told(self) -> None:
        """The bill and the observers get the retried, the repaired and the handed-over attempts, each once."""
        bill: list[Attempt] = []
        seen: list[Attempt] = []
        wrong = SchemaFailure("no JSON", usage=Usage(input=7, output=3), answer="{", model="a-1-dated")
        first = ActingProvider(acts=[Act(error=Overloaded("5xx")), Act(error=wrong)])
        chain = Chain([first, ActingProvider(name="b")], observers=[seen.append])
        assert (await chain.complete(request(60, bill=bill))).provider == "b"
        assert [(attempt.model, attempt.outcome, attempt.usage) for attempt in bill] == [
            ("a-1", "Overloaded", Usage()),
            ("a-1-dated", "SchemaFailure", Usage(input=7, output=3)),
            ("a-1-dated", "SchemaFailure", Usage(input=7, output=3)),
            ("b-1-x", "answered", USAGE),
        ]
        assert seen == bill

    @on_virtual_clock
    async def test_a_dead_provider_is_left_alone(self) -> None:
        """After some failures the breaker keeps requests from it, and the next one answers at once."""
        dead, alive = ActingProvider(acts=[Act(pieces=(), error=Unreachable("no"))]), ActingProvider(name="b")
        chain = Chain([dead, alive], board=Board.private(clock=virtual_ns))
        for _ in range(50):
            await chain.complete(request(60))
        assert len(dead.requests) < 15
        assert len(alive.requests) == 50
        assert [link.slot.state for link in chain.links] == ["open", "closed"]

    @on_virtual_clock
    async def test_a_silent_provider_is_left_alone_whoever_stops_waiting(self) -> None:
        """A last provider that stalls opens its breaker, though its callers' own limits end every wait for it."""
        chain = Chain([ActingProvider(acts=[Act(wait_s=FOREVER_S)])], board=Board.private(clock=virtual_ns))
        for _ in range(5):
            asked = request(4)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout_at(asked.deadline):
                    await chain.complete(asked)
        assert chain.links[0].slot.state == "open"

    @on_virtual_clock
    async def test_callers_who_leave_say_nothing_about_a_provider(self) -> None:
        """Cancellations before the deadline do not open a breaker."""
        chain = Chain([ActingProvider(acts=[Act(wait_s=FOREVER_S)])], board=Board.private(clock=virtual_ns))
        for _ in range(30):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(chain.complete(request(60)), 4)
        assert chain.links[0].slot.state == "closed"

    @on_virtual_clock
    async def test_the_limit_is_each_providers(self) -> None:
        """Who finds no place at the first provider is answered by the next."""
        vendors = [ActingProvider(name=name, acts=[Act(pieces=(), wait_s=1.0)]) for name in ("a", "b")]
        chain = Chain(vendors, concurrent_max=2)
        answers = await asyncio.gather(*(chain.complete(request(60)) for _ in range(8)), return_exceptions=True)
        assert [vendor.most for vendor in vendors] == [2, 2]
        assert [len(vendor.requests) for vendor in vendors] == [4, 4]
        assert not [answer for answer in answers if isinstance(answer, BaseException)]

    @on_virtual_clock
    async def test_who_queued_before_the_breaker_opened_is_not_sent(self) -> None:
        """When the turn comes, the next provider is asked instead of the dead one."""
        dead = ActingProvider(acts=[Act(pieces=(), wait_s=0.2, error=Overloaded("5xx"))])
        chain = Chain([dead, ActingProvider(name="b")], board=Board.private(clock=virtual_ns), concurrent_max=8)
        answers = await asyncio.gather(*(chain.complete(request(60)) for _ in range(16)))
        assert {answer.provider for answer in answers} == {"b"}
        assert (len(dead.requests), chain.links[0].limit.running) == (8, 0)

    @on_virtual_clock
    async def test_nobody_queues_at_an_open_breaker(self) -> None:
        """While all turns are taken at a provider that is left alone, the next one is asked without waiting."""
        chain = Chain(
            [ActingProvider(acts=[Act(wait_s=9.0)]), ActingProvider(name="b")],
            board=Board.private(clock=virtual_ns),
            concurrent_max=1,
        )
        busy = asyncio.create_task(chain.complete(request(60)))
        await asyncio.sleep(0)
        slot = chain.links[0].slot
        ticket = slot.enter(1)
        assert ticket is not None
        slot.change(lambda circuit, now_ns: circuit.failed(now_ns, ticket, at_once=True))
        started = virtual_ns()
        assert (await chain.complete(request(60))).provider == "b"
        assert virtual_ns() == started
        await busy

    @pytest.mark.parametrize("streamed", [False, True])
    @on_virtual_clock
    async def test_one_probe_goes_through_the_limit(self, *, streamed: bool) -> None:
        """Of all who come when the cool-down is over one is sent, and brings the provider back."""
        failure, answer = Act(pieces=(), error=Unreachable("no")), Act(wait_s=1.0)
        vendor = ActingProvider(acts=[*[failure] * 5, answer])
        chain = Chain([vendor, ActingProvider(name="b")], board=Board.private(clock=virtual_ns), concurrent_max=2)

        async def ask() -> str:
            if not streamed:
                return (await chain.complete(request(60))).provider
            async with aclosing(chain.stream(request(60))) as events:
                *_, completion = [event async for event in events]
                assert isinstance(completion, Completion)
                return completion.provider

        while chain.links[0].slot.state == "closed":
            await ask()
        await asyncio.sleep(5)
        answers = await asyncio.gather(*(ask() for _ in range(5)))
        assert (answers.count("a"), len(vendor.requests)) == (1, 6)
        assert (chain.links[0].slot.state, chain.links[0].limit.running) == ("closed", 0)

    @on_virtual_clock
    async def test_waiting_for_a_turn_is_not_the_providers_time(self) -> None:
        """An attempt that ran out of time because it had to wait here says nothing about the provider."""
        vendor = ActingProvider(acts=[Act(pieces=(), wait_s=10.0)])
        chain = Chain([vendor], board=Board.private(clock=virtual_ns), concurrent_max=5)
        busy = [asyncio.create_task(chain.complete(request(60))) for _ in range(5)]
        await asyncio.sleep(0)
        late = await asyncio.gather(*(chain.complete(request(10.2)) for _ in range(5)), return_exceptions=True)
        assert [type(error) for error in late] == [ProvidersUnavailable] * 5
        await asyncio.gather(*busy)
        assert (len(vendor.requests), chain.links[0].slot.read().failed) == (10, 0)

    @on_virtual_clock
    async def test_hedging_is_asked_for(self) -> None:
        """With `hedge` a late answer is asked for twice, once the node knows what late means."""
        usual, late = Act(pieces=("x",), wait_s=0.1), Act(pieces=("late",), wait_s=30.0)
        vendor = ActingProvider(acts=[*[usual] * 200, late, usual])
        told: list[str] = []
        chain = Chain(
            [vendor], hedge=True, board=Board.private(clock=virtual_ns), count=lambda _, event: told.append(event)
        )
        for _ in range(200):
            await chain.complete(request(60))
        assert ((await chain.complete(request(60))).text, told) == ("x", ["hedged"])

    async def test_links_and_close(self) -> None:
        """Who watches a chain sees its vendors in order; closing it closes them all, also behind one that fails to."""

        class Sticks(ActingProvider):
            """Does not close."""

            async def aclose(self) -> None:
                raise OSError

        first, second = ActingProvider(), Sticks(name="b")
        chain = Chain([first, second])
        assert (chain.vendors, chain.model) == ((first, second), "a-1")
        assert [(link.name, link.model, link.vendor) for link in chain.links] == [
            ("a", "a-1", first),
            ("b", "b-1", second),
        ]
        with pytest.raises(OSError):  # noqa: PT011 - the double's own
            await chain.aclose()
        assert first.closed


class TestBuildVendors:
    """What a start refuses, in one sentence that says what to change."""

    @pytest.mark.parametrize(
        ("names", "policy", "sentence"),
        [
            ([], ProviderPolicy(), "ASSAY_PROVIDERS is empty"),
            (
                ["extractiv"],
                ProviderPolicy(),
                "names 'extractiv', which is none of: extractive, scripted, anthropic, openai, local",
            ),
            (["extractive", "extractive"], ProviderPolicy(), "each provider once"),
            (["anthropic"], ProviderPolicy(anthropic_model="m"), "set ANTHROPIC_API_KEY"),
            (["anthropic"], ProviderPolicy(anthropic_api_key=SecretStr("k")), "set ASSAY_ANTHROPIC_MODEL"),
            (["openai"], ProviderPolicy(openai_model="m"), "set OPENAI_API_KEY"),
            (["openai"], ProviderPolicy(openai_api_key=SecretStr("k")), "set ASSAY_OPENAI_MODEL"),
            (
                ["openai"],
                ProviderPolicy(
                    openai_api_key=SecretStr("k"), openai_model="m", openai_base_url="https://models.example/v1"
                ),
                "ASSAY_OPENAI_MODEL names 'm', and nobody knows what it costs; .* provider 'local'",
            ),
            (
                ["openai"],
                ProviderPolicy(openai_api_key=SecretStr("k"), openai_model="gpt-5-mini", openai_base_url="models/v1"),
                "OPENAI_BASE_URL has to be an http or https URL",
            ),
            (
                ["anthropic"],
                ProviderPolicy(
                    anthropic_api_key=SecretStr("k"),
                    anthropic_model="claude-sonnet-5-5",
                    anthropic_base_url="http://[models",
                ),
                "ANTHROPIC_BASE_URL has to be an http or https URL",
            ),
            (["scripted"], ProviderPolicy(), "set ASSAY_SCRIPT"),
            (["scripted"], ProviderPolicy(script=Path("no-such.yaml")), "cannot be read"),
        ],
    )
    def test_refuses(self, names: list[str], policy: ProviderPolicy, sentence: str) -> None:
        """An unknown name and a missing setting are named."""
        with pytest.raises(InvalidInput, match=sentence):
            build_vendors(names, policy)

    async def test_order_is_kept(self, tmp_path: Path) -> None:
        """The providers stand in the order of the names."""
        script = tmp_path / "script.yaml"
        script.write_text("[{answer: yes}]".replace("yes", "'yes'"))
        policy = ProviderPolicy(script=script, openai_api_key=SecretStr("k"), openai_model="gpt-5-mini")
        vendors = build_vendors(["scripted", " openai", "local", "extractive"], policy)
        assert [vendor.name for vendor in vendors] == ["scripted", "openai", "local", "extractive"]
        for vendor in vendors:
            await vendor.aclose()

    def test_unnamed_vendors_are_not_imported(self) -> None:
        """A process without the openai provider never imports the SDK."""
        code = (
            "import sys; from serving.providers.vendors import *; build_vendors(['extractive'], ProviderPolicy()); "
            "assert not {'openai', 'httpx2', 'anthropic'} & set(sys.modules)"
        )
        subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


class TestTranslate:
    """Vendor errors become ours by a table."""

    def test_most_derived_class_wins(self) -> None:
        """The nearest class in the table decides, and the vendor's sentence is not in the traceback."""
        table = {OSError: lambda _: Overloaded("os"), ConnectionError: lambda _: Unreachable("gone")}
        with pytest.raises(Unreachable) as caught, translate(table):
            raise ConnectionResetError("secret words")
        assert caught.value.__suppress_context__

    def test_what_cannot_be_told_is_garbled(self) -> None:
        """A vendor's error that trips its own translation goes on as one of ours, and is quoted nowhere."""

        def trip(_: Exception) -> Overloaded:
            raise OverflowError("secret words")

        with pytest.raises(Garbled) as caught, translate({OSError: trip}):
            raise ConnectionResetError("secret words")
        assert "secret" not in "".join(traceback.format_exception(caught.value))

    def test_others_pass(self) -> None:
        """An exception that the table does not know is a bug, and passes."""
        with pytest.raises(ZeroDivisionError), translate({OSError: lambda _: Overloaded("os")}):
            raise ZeroDivisionError

    @pytest.mark.parametrize(
        ("headers", "wait_s"),
        [
            ({}, None),
            ({"retry-after": "7"}, 7.0),
            ({"retry-after": "7", "retry-after-ms": "250"}, 0.25),
            ({"retry-after": "-3"}, 0.0),
            ({"retry-after": "999999"}, 3600.0),
            ({"retry-after": "Fri, 01 Jan 1999 00:00:00 GMT"}, 0.0),
            ({"retry-after": "soon"}, None),
            ({"retry-after": "nan"}, None),
            ({"retry-after": "Fri, 31 Dec 99999999999999999999 23:59:59 GMT"}, None),
        ],
    )
    def test_retry_after(self, headers: dict[str, str], wait_s: float | None) -> None:
        """Milliseconds go before seconds and dates; the wait is between nothing and an hour."""
        assert retry_after_s(headers) == wait_s
