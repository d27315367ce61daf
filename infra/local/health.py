"""Ask a part over its own URL whether it is well."""

import json
import ssl
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any
from urllib.error import URLError
from urllib.request import HTTPSHandler, ProxyHandler, Request, build_opener

TIMEOUT_S = 2.0
BODY_MAX = 1_000_000
HEARTBEAT_MAX_AGE = timedelta(seconds=90)
"""A Prefect worker beats every 30 s."""

# Whether our own API's certificate fits a loopback address says nothing about its health.
_any_certificate = ssl.create_default_context()
_any_certificate.check_hostname = False
_any_certificate.verify_mode = ssl.CERT_NONE
# No proxy of the environment stands between us and this machine.
_opener = build_opener(ProxyHandler({}), HTTPSHandler(context=_any_certificate))


def answers(url: str) -> bool:
    """True when GET on the URL answers 200 within two seconds."""
    try:
        with _opener.open(url, timeout=TIMEOUT_S) as response:
            return response.status == HTTPStatus.OK
    except (URLError, OSError, ValueError):
        return False


def worker_online(prefect_url: str, pool: str, since: float) -> bool:
    """True when Prefect knows a worker of this pool that is online and beat lately, and after `since`."""
    request = Request(  # noqa: S310 - an http URL of the platform's own settings
        f"{prefect_url}/work_pools/{pool}/workers/filter",
        data=b"{}",
        headers={"Content-Type": "application/json"},
    )
    try:
        with _opener.open(request, timeout=TIMEOUT_S) as response:
            workers: list[dict[str, Any]] = json.loads(response.read(BODY_MAX))
    except (URLError, OSError, ValueError):
        return False
    oldest = max(datetime.now(UTC) - HEARTBEAT_MAX_AGE, datetime.fromtimestamp(since, UTC))
    beats = [worker.get("last_heartbeat_time") for worker in workers if worker.get("status") == "ONLINE"]
    return any(datetime.fromisoformat(beat) > oldest for beat in beats if beat is not None)
