"""Switches OpenTelemetry on for whoever names a collector; off, nothing of it is imported and nothing leaves."""

from typing import Protocol
from urllib.parse import urlsplit

from registry.errors import InvalidInput
from registry.messages import Attempt


class Telemetry(Protocol):
    """Tells a collector about every attempt; never blocks or fails one."""

    def observe(self, attempt: Attempt) -> None:
        """Take down an attempt that ended now; call it in the context of the request."""
        ...

    async def aclose(self) -> None:
        """Send what is left and stop, within 2 s; what a stalled collector does not take by then is lost."""
        ...


def build_telemetry(endpoint: str | None) -> Telemetry | None:
    """What sends spans and metrics of every attempt to a collector; None without an endpoint.

    Call it in the process that serves, once: it starts the threads that send.

    Args:
        endpoint: base URL of an OTLP/HTTP collector, e.g. `http://127.0.0.1:4318`.

    Raises:
        InvalidInput: the endpoint is no such URL, or the extra is not installed.
    """
    require_collector(endpoint)
    if endpoint is None:
        return None
    try:
        from serving.otel import OtlpTelemetry  # noqa: PLC0415 - half a second and 20 MB that most processes never need
    except ImportError as error:
        raise InvalidInput(
            f"ASSAY_OTLP_ENDPOINT is set and {error.name!r} is missing; install it with: pip install 'assay[telemetry]'"
        ) from error
    return OtlpTelemetry(endpoint)


def require_collector(endpoint: str | None) -> None:
    """Refuse what cannot be a collector's address, before anything is started.

    Raises:
        InvalidInput: it is no base URL.
    """
    if endpoint is not None and not _is_base_url(endpoint):
        # The value is not quoted: such URLs carry passwords.
        raise InvalidInput(
            "ASSAY_OTLP_ENDPOINT has to be the base URL of a collector without a query, e.g. 'http://127.0.0.1:4318'; "
            "a key goes into OTEL_EXPORTER_OTLP_HEADERS"
        )


def _is_base_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        port_is_one = parts.port is None or parts.port > 0
    except ValueError:
        return False
    plain = parts.username is None and not parts.query and not parts.fragment
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and port_is_one and plain
