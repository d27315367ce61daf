"""The engine's environment, read once at its door."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from infra.local.engine.problems import StartRefused

KEY_CHARS_MIN = 16
"""A shorter api key is a typing mistake or guessable."""

BODY_BYTES_MAX = 16 * 1024 * 1024
"""1,000 points with 384 full-precision components and 2 KB of payload are 10 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """Where the engine listens, what it keeps and who may call it."""

    data: Path
    """Directory that this process owns."""
    host: str
    port: int
    api_key: str
    body_bytes_max: int = BODY_BYTES_MAX

    @property
    def host_names(self) -> frozenset[str]:
        """Names that a Host header may carry: loopback, and what we were told to listen on."""
        return frozenset({"localhost", "127.0.0.1", "::1", self.host.lower()})


def from_environment(environment: Mapping[str, str]) -> EngineSettings:
    """Settings from ASSAY_HOME, ASSAY_HOST, ASSAY_QDRANT_PORT and QDRANT_API_KEY or the key file in home.

    Raises:
        StartRefused: a value is missing or unsafe.
    """
    home = Path(environment.get("ASSAY_HOME") or ".assay").expanduser().absolute()
    host = environment.get("ASSAY_HOST") or "127.0.0.1"
    if not _is_loopback(host) and not environment.get("ASSAY_BEHIND_PROXY"):
        raise StartRefused(
            f"ASSAY_HOST is {host!r}: beyond loopback the engine needs TLS in front; set ASSAY_BEHIND_PROXY=1 there"
        )
    return EngineSettings(
        data=home / "engine",
        host=host,
        port=_port(environment.get("ASSAY_QDRANT_PORT") or "6333"),
        api_key=_api_key(environment, home / "keys" / "engine"),
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:  # noqa: PLR2004 - the range of TCP ports
        raise StartRefused(f"ASSAY_QDRANT_PORT is {text!r}; it must be a number from 1 to 65535")
    return int(text)


def _api_key(environment: Mapping[str, str], path: Path) -> str:
    key = environment.get("QDRANT_API_KEY", "").strip()
    if not key:
        try:
            key = path.read_text().strip()
        except OSError as error:
            raise StartRefused(f"no QDRANT_API_KEY and no readable {path}; run `assay up` once, or set it") from error
    if len(key) < KEY_CHARS_MIN or not key.isascii():
        raise StartRefused(f"the engine's api key must be at least {KEY_CHARS_MIN} ASCII characters")
    return key
