"""What the network adapters make of a vendor's bad days: each planted fault is exactly one of our errors."""

import asyncio
import json
import logging
import traceback
from contextlib import suppress
from dataclasses import replace

import pytest
from fakes.fake_anthropic import WRITES
from fakes.fake_vendor import DATED, INSIGHT, REQUEST_ID
from fakes.fake_vendor_faults import Fault
from fakes.fake_vendor_wire import USAGE
from provider_calls import (
    KEY,
    MODEL,
    MODES,
    REQUEST,
    STRUCTURED,
    WIRES,
    Mode,
    Wire,
    ask,
    at_vendor,
    call,
    either_mode,
    noted,
    within,
)

from registry.messages import Usage
from serving.providers.base import (
    AuthenticationFailed,
    ContentRefused,
    ContextTooLong,
    Garbled,
    ModelNotFound,
    Overloaded,
    ProviderError,
    RateLimited,
    Rejected,
    SchemaFailure,
    TimedOut,
    Transient,
    Unreachable,
)

pytestmark = pytest.mark.contract

every_wire = pytest.mark.parametrize("wire", WIRES)

STATUS: dict[Fault, type[ProviderError]] = {
    "rate-limited": RateLimited,
    "rate-limited-ms": RateLimited,
    "rate-limited-date": RateLimited,
    "no-quota": AuthenticationFailed,
    "server-error": Overloaded,
    "overloaded": Overloaded,
    "overloaded-wait": Overloaded,
    "gateway-timeout": Overloaded,
    "do-not-retry": Overloaded,
    "please-retry": Overloaded,
    "bad-key": AuthenticationFailed,
    "no-rights": AuthenticationFailed,
    "no-model": ModelNotFound,
    "bad-request": Rejected,
    "wrong-temperature": Rejected,
    "too-long": ContextTooLong,
    "too-long-llama": ContextTooLong,
    "too-large": ContextTooLong,
}
BROKEN: dict[Fault, type[ProviderError]] = {
    "refused": Unreachable,
    "reset": Unreachable,
    "cut": Unreachable,
    "huge": Garbled,
    "html": Garbled,
    "compressed": Garbled,
    "redirect": ModelNotFound,
    "malformed": Garbled,
    "empty": SchemaFailure,
}
WHOLE: dict[Fault, type[ProviderError]] = {"unfinished": Unreachable, "no-content": Garbled}
STREAMED: dict[Fault, type[ProviderError]] = {
    "unfinished": Unreachable,
    "no-content": Unreachable,
    "error-first": Overloaded,
    "error-event": Overloaded,
    "error-limited": RateLimited,
    "huge-event": Garbled,
}
CASES = [
    *((fault, kind, mode) for fault, kind in (STATUS | BROKEN).items() for mode in MODES),
    *((fault, kind, "whole") for fault, kind in WHOLE.items()),
    *((fault, kind, "streamed") for fault, kind in STREAMED.items()),
]


def billed(wire: Wire) -> Usage:
    """What each answer of the fake vendor has used."""
    return USAGE + WRITES if wire == "anthropic" else USAGE


@every_wire
@pytest.mark.parametrize(("fault", "kind", "mode"), CASES)
async def test_fault_becomes_our_error(
    wire: Wire, fault: Fault, kind: type[ProviderError], mode: Mode, caplog: pytest.LogCaptureFixture
) -> None:
    """Every fault raises exactly its kind after one request; neither error, traceback nor log quote the vendor."""
    caplog.set_level(logging.DEBUG)
    with pytest.raises(kind) as caught:
        await call(wire, fault, mode=mode)
    assert type(caught.value) is kind
    told = "".join(traceback.format_exception(caught.value)) + caplog.text
    for secret in ("planted", "quarterly secret", "parcels", INSIGHT["answer"]):
        assert str(secret) not in told


@pytest.mark.parametrize("wire", ["chat", "responses"])
@either_mode
async def test_a_declined_prompt_is_a_result(wire: Wire, mode: Mode) -> None:
    """OpenAI's filter says by a code that it declined the prompt: `ContentRefused`, which no other vendor is asked."""
    with pytest.raises(ContentRefused):
        await call(wire, "filtered", mode=mode)


@either_mode
async def test_failed_response_is_the_vendors_failure(mode: Mode) -> None:
    """A response whose status is `failed` is the vendor's failure, with what it has cost."""
    request, attempts = noted(REQUEST)
    with pytest.raises(Overloaded):
        await call("responses", "failed", request, mode=mode)
    assert [(attempt.usage, attempt.estimated) for attempt in attempts] == [(billed("responses"), False)]


@every_wire
@either_mode
@pytest.mark.parametrize("fault", ["stall", "stall-body", "stall-mid", "drip"])
async def test_deadline_holds(wire: Wire, fault: Fault, mode: Mode) -> None:
    """A vendor that says nothing, stops half way, or drips is left when the time is over; its connection is closed."""
    async with at_vendor(wire, fault) as (provider, vendor):
        with pytest.raises(TimedOut) as caught:
            await ask(provider, within(0.2), mode=mode)
        assert type(caught.value) is TimedOut
        async with asyncio.timeout(5):
            await vendor.hung_up()


@every_wire
@either_mode
async def test_nobody_is_asked_when_the_time_is_over(wire: Wire, mode: Mode) -> None:
    """With a deadline in the past the vendor is not bothered, and nothing was used."""
    request, attempts = noted(within(-1))
    async with at_vendor(wire) as (provider, vendor):
        with pytest.raises(TimedOut):
            await ask(provider, request, mode=mode)
    assert (vendor.requests, attempts) == ([], [])


@every_wire
@either_mode
@pytest.mark.parametrize("fault", ["stall", "stall-mid"])
async def test_cancelling_closes_the_connection(wire: Wire, fault: Fault, mode: Mode) -> None:
    """A cancelled call hangs up at once, so that the vendor can stop writing."""
    async with at_vendor(wire, fault) as (provider, vendor):
        task = asyncio.create_task(ask(provider, mode=mode))
        await vendor.asked()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(5):
            await vendor.hung_up()


@every_wire
@either_mode
@pytest.mark.parametrize(
    ("fault", "wait"),
    [("rate-limited", 7), ("rate-limited-ms", 1.5), ("rate-limited-date", 3600), ("overloaded-wait", 30)],
)
async def test_retry_after_is_read(wire: Wire, fault: Fault, wait: float, mode: Mode) -> None:
    """The wait that the vendor asks for is carried, in seconds, the finer header first, at most an hour."""
    with pytest.raises(Transient) as caught:
        await call(wire, fault, mode=mode)
    assert caught.value.retry_after_s == pytest.approx(wait)


@every_wire
@either_mode
@pytest.mark.parametrize(("fault", "said"), [("do-not-retry", False), ("please-retry", True), ("server-error", None)])
async def test_should_retry_is_read(wire: Wire, fault: Fault, said: object, mode: Mode) -> None:
    """What the vendor says about asking again is carried, with the id of the call."""
    with pytest.raises(Overloaded) as caught:
        await call(wire, fault, mode=mode)
    assert (caught.value.should_retry, caught.value.request_id) == (said, REQUEST_ID)


@every_wire
@either_mode
@pytest.mark.parametrize(
    ("fault", "answer"),
    [("not-the-schema", "I would rather chat."), ("wrong-shape", '{"answer": ["Nine"], "sources": 9}')],
)
async def test_wrong_json_is_billed_and_kept(wire: Wire, fault: Fault, answer: str, mode: Mode) -> None:
    """An answer that misses the schema fails with what it cost, who gave it, and itself: for one repair."""
    with pytest.raises(SchemaFailure) as caught:
        await call(wire, fault, replace(REQUEST, output_schema=STRUCTURED), mode=mode)
    error = caught.value
    assert (error.usage, error.model, error.request_id) == (billed(wire), f"{MODEL}{DATED}", REQUEST_ID)
    assert error.answer == answer
    assert answer not in str(error)


@every_wire
@either_mode
async def test_cut_off_json_is_not_repaired(wire: Wire, mode: Mode) -> None:
    """JSON that ended at the token limit fails, says so, and offers nothing to repair."""
    with pytest.raises(SchemaFailure, match="max_output_tokens") as caught:
        await call(wire, "stopped-short", replace(REQUEST, output_schema=STRUCTURED), mode=mode)
    assert (caught.value.answer, caught.value.usage) == (None, billed(wire))


@every_wire
@pytest.mark.parametrize("fault", ["none", "not-the-schema"])
@either_mode
async def test_key_and_content_stay_out_of_the_log(
    wire: Wire, fault: Fault, mode: Mode, caplog: pytest.LogCaptureFixture
) -> None:
    """At every level the log holds neither the key nor a word of prompt or answer."""
    caplog.set_level(logging.DEBUG)
    with suppress(ProviderError):
        await call(wire, fault, replace(REQUEST, output_schema=STRUCTURED), mode=mode)
    for secret in (KEY, "parcels", INSIGHT["answer"], "rather chat"):
        assert str(secret) not in caplog.text


@every_wire
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("overloaded", Overloaded),
        ("bad-key", AuthenticationFailed),
        ("reset", Unreachable),
        ("refused", Unreachable),
        ("redirect", ModelNotFound),
        ("html", Garbled),
    ],
)
async def test_ping_shows_the_fault(wire: Wire, fault: Fault, kind: type[ProviderError]) -> None:
    """A ping fails as a call would, and asks for no answer."""
    async with at_vendor(wire, fault) as (provider, vendor):
        with pytest.raises(kind):
            await provider.ping()
    assert vendor.requests == []


@every_wire
async def test_ping_costs_nothing(wire: Wire) -> None:
    """A ping is one request that generates nothing."""
    async with at_vendor(wire) as (provider, vendor):
        await provider.ping()
    assert (vendor.pings, vendor.requests) == (1, [])


@every_wire
@either_mode
async def test_a_plan_of_faults_reaches_a_repair(wire: Wire, mode: Mode) -> None:
    """The same provider answers rightly after it answered wrongly: no fault sticks to its connections."""
    request = replace(REQUEST, output_schema=STRUCTURED)
    async with at_vendor(wire, lambda number, _: "not-the-schema" if number == 1 else "none") as (provider, _):
        with pytest.raises(SchemaFailure):
            await ask(provider, request, mode=mode)
        assert json.loads((await ask(provider, request, mode=mode)).completion.text) == INSIGHT
