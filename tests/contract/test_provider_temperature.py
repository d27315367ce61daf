"""A model that takes no temperature is asked without one, whoever finds out first."""

import asyncio
from dataclasses import replace

import pytest
from fakes.fake_vendor import FakeVendor
from fakes.fake_vendor_faults import Fault
from provider_calls import REQUEST, Mode, Wire, ask, at_vendor, either_mode, network_provider, noted, within

from registry.messages import Usage
from serving.providers.base import Rejected
from serving.providers.chain import Chain

pytestmark = pytest.mark.contract
CALLS = 16

openai_wire = pytest.mark.parametrize("wire", ["chat", "responses"])


@openai_wire
@either_mode
@pytest.mark.parametrize("fault", ["no-temperature", "no-temperature-uncoded"])
async def test_calls_at_once_are_all_answered(wire: Wire, mode: Mode, fault: Fault) -> None:
    """Each call whose own body was refused asks again at once, as one attempt; later calls send no temperature."""
    request, attempts = noted(replace(REQUEST, temperature=0.0))
    async with FakeVendor(fault) as vendor:
        chain = Chain([network_provider(wire, vendor)])
        await asyncio.gather(
            *(ask(chain, replace(request, deadline=within(10).deadline), mode=mode) for _ in range(CALLS))
        )
        assert ["temperature" in body for body in vendor.requests].count(True) == CALLS
        assert len(vendor.requests) == 2 * CALLS
        await ask(chain, request, mode=mode)
        assert len(vendor.requests) == 2 * CALLS + 1
        await chain.aclose()
    assert [attempt.outcome for attempt in attempts] == ["answered"] * (CALLS + 1)


@openai_wire
@either_mode
async def test_another_mistake_about_it_is_told(wire: Wire, mode: Mode) -> None:
    """A temperature that no model takes is the prompt's mistake: asked once, billed nothing, and not left out later."""
    request, attempts = noted(replace(REQUEST, temperature=9.0))
    async with at_vendor(wire, "wrong-temperature") as (provider, vendor):
        with pytest.raises(Rejected):
            await ask(provider, request, mode=mode)
        vendor.fault = "none"
        await ask(provider, request, mode=mode)
    assert ["temperature" in body for body in vendor.requests] == [True, True]
    assert attempts[0].usage == Usage()
