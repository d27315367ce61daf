"""The vector engine's environment, and the Host header it accepts."""

from pathlib import Path

import pytest

from infra.local.engine.access import host_name
from infra.local.engine.problems import StartRefused
from infra.local.engine.settings import from_environment

KEY = "0123456789abcdef"


class TestFromEnvironment:
    """What the process starts with."""

    def test_the_defaults_are_loopback_and_home(self, tmp_path: Path) -> None:
        """Nothing but a key is needed."""
        settings = from_environment({"ASSAY_HOME": str(tmp_path), "QDRANT_API_KEY": KEY})
        assert (settings.host, settings.port, settings.data) == ("127.0.0.1", 6333, tmp_path / "engine")

    def test_the_key_is_found_in_home(self, tmp_path: Path) -> None:
        """The key that `assay up` wrote is used when the environment has none."""
        (tmp_path / "keys").mkdir()
        (tmp_path / "keys" / "engine").write_text(KEY + "\n")
        assert from_environment({"ASSAY_HOME": str(tmp_path)}).api_key == KEY

    @pytest.mark.parametrize(
        ("environment", "said"),
        [
            ({}, "no QDRANT_API_KEY"),
            ({"QDRANT_API_KEY": "short"}, "at least 16"),
            ({"QDRANT_API_KEY": "schlüssel-schlüssel"}, "ASCII"),
            ({"QDRANT_API_KEY": KEY, "ASSAY_QDRANT_PORT": "0"}, "ASSAY_QDRANT_PORT is '0'"),
            ({"QDRANT_API_KEY": KEY, "ASSAY_QDRANT_PORT": "http"}, "ASSAY_QDRANT_PORT is 'http'"),
            ({"QDRANT_API_KEY": KEY, "ASSAY_HOST": "192.0.2.1"}, "ASSAY_BEHIND_PROXY"),
            ({"QDRANT_API_KEY": KEY, "ASSAY_HOST": "engine.internal"}, "ASSAY_BEHIND_PROXY"),
        ],
    )
    def test_it_does_not_start_unsafe(self, tmp_path: Path, environment: dict[str, str], said: str) -> None:
        """A missing or weak key, a senseless port and an open address are refused in one sentence."""
        with pytest.raises(StartRefused, match=said):
            from_environment({"ASSAY_HOME": str(tmp_path), **environment})

    def test_a_host_behind_a_proxy_is_a_known_name(self, tmp_path: Path) -> None:
        """Beyond loopback the configured name is accepted in Host."""
        environment = {"ASSAY_HOME": str(tmp_path), "QDRANT_API_KEY": KEY}
        settings = from_environment({**environment, "ASSAY_HOST": "Engine.internal", "ASSAY_BEHIND_PROXY": "1"})
        assert "engine.internal" in settings.host_names


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("localhost:6333", "localhost"),
        ("LOCALHOST", "localhost"),
        ("[::1]:6333", "::1"),
        ("[::1]", "::1"),
        ("127.0.0.1.evil.example:6333", "127.0.0.1.evil.example"),
        ("", ""),
    ],
)
def test_a_host_header_is_read_without_its_port(header: str, name: str) -> None:
    """Only the name counts, in lower case."""
    assert host_name(header) == name
