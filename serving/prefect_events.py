"""A small door to Prefect's events, for processes that must not carry Prefect itself.

* PrefectUnavailable (Unavailable) - no answer, a slow one, or one that is not Prefect's
"""

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import httpx
from pydantic import SecretStr

from registry.errors import JsonValue, Unavailable

TIMEOUT_S = 5.0
CONNECT_TIMEOUT_S = 1.0


class PrefectUnavailable(Unavailable):
    """Prefect did not answer, or not in time, or does not take what it was sent."""

    code = "prefect-unavailable"


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefectEvent:
    """Something that happened, for automations to act on."""

    id: UUID
    """Prefect takes an event of the same id once."""
    name: str
    """E.g. `assay.prompt.candidate`."""
    resource_id: str
    resource_name: str
    payload: Mapping[str, JsonValue]
    occurred_s: float
    """Seconds since the epoch."""


class PrefectEvents:
    """Sends events; opens a connection for each, because they are rare.

    Args:
        url: Prefect's API, e.g. `http://127.0.0.1:4200/api`.
        auth: user and password of its basic authentication, `user:password`; None: it has none.
        transport: instead of the network.
    """

    def __init__(
        self, url: str, auth: SecretStr | None = None, *, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._url = url.rstrip("/")
        self._auth = auth
        self._transport = transport

    async def send(self, event: PrefectEvent) -> None:
        """Hand one event over; when it returns, Prefect has it.

        Raises:
            PrefectUnavailable: it does not answer within TIMEOUT_S, or refuses.
        """
        document = {
            "id": str(event.id),
            "event": event.name,
            "occurred": datetime.fromtimestamp(event.occurred_s, UTC).isoformat(),
            "resource": {"prefect.resource.id": event.resource_id, "prefect.resource.name": event.resource_name},
            "payload": dict(event.payload),
        }
        # Proxy variables are not read: Prefect stands inside, and a loopback call must not leave the machine.
        timeout = httpx.Timeout(TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        try:
            async with (
                asyncio.timeout(TIMEOUT_S),
                httpx.AsyncClient(timeout=timeout, trust_env=False, transport=self._transport) as client,
                client.stream("POST", f"{self._url}/events", json=[document], headers=self._headers()) as answer,
            ):
                status = answer.status_code
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            raise PrefectUnavailable(f"Prefect does not answer ({type(error).__name__}); is it running?") from error
        if not 200 <= status < 300:  # noqa: PLR2004 - HTTP success
            raise PrefectUnavailable(
                f"Prefect answered {status} to an event; check PREFECT_API_URL and its auth string"
            )

    def _headers(self) -> dict[str, str]:
        if self._auth is None:
            return {}
        return {"Authorization": f"Basic {base64.b64encode(self._auth.get_secret_value().encode()).decode()}"}
