"""What becomes of an adapter's connections."""

import pytest
from provider_calls import WIRES, Wire, ask, at_vendor

pytestmark = pytest.mark.contract


@pytest.mark.parametrize("wire", WIRES)
async def test_a_connection_is_used_again(wire: Wire) -> None:
    """Streams that were read to their end and whole answers share one connection: no new TLS handshake a call."""
    async with at_vendor(wire) as (provider, vendor):
        for mode in ("streamed", "streamed", "whole", "streamed"):
            await ask(provider, mode=mode)
        assert (len(vendor.requests), len(vendor._connections)) == (4, 1)
