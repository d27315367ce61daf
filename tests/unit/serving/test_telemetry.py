"""The switch of telemetry: off by default, and clear about what is missing."""

import subprocess
import sys

import pytest

from registry.errors import InvalidInput
from serving.request_context import request_ids
from serving.telemetry import build_telemetry

OFF = """
import sys
from serving.telemetry import build_telemetry
assert build_telemetry(None) is None
assert not [name for name in sys.modules if name.startswith("opentelemetry")]
"""


def test_off_imports_nothing() -> None:
    """Without an endpoint there is no telemetry, and OpenTelemetry is not imported."""
    subprocess.run([sys.executable, "-c", OFF], check=True, timeout=60)


@pytest.mark.parametrize(
    "endpoint",
    ["", "collector:4318", "ftp://collector", "http://", "http://host:0", "http://host:x", "http://me:secret@host"],
)
def test_an_endpoint_has_to_be_a_base_url(endpoint: str) -> None:
    """What is no base URL, or carries a password, is refused by the name of its setting and not repeated."""
    with pytest.raises(InvalidInput, match="ASSAY_OTLP_ENDPOINT") as caught:
        build_telemetry(endpoint)
    assert "secret" not in caught.value.message


def test_a_missing_extra_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where OpenTelemetry is not installed, the error names the command that installs it."""
    monkeypatch.delitem(sys.modules, "serving.otel", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(InvalidInput, match=r"pip install 'assay\[telemetry\]'"):
        build_telemetry("http://127.0.0.1:4318")


@pytest.mark.parametrize(("flags", "sampled"), [("01", True), ("00", False), ("ff", True), ("02", False)])
def test_the_callers_span_and_choice_are_read(flags: str, sampled: bool) -> None:  # noqa: FBT001 - a row of the table
    """A traceparent header gives the trace, the caller's span, and whether the caller keeps the trace."""
    ids = request_ids(None, f"00-{'a' * 32}-{'b' * 16}-{flags}")
    assert (ids.trace_id, ids.parent_id, ids.sampled) == ("a" * 32, "b" * 16, sampled)


def test_without_a_traceparent_nobody_is_the_caller() -> None:
    """A request without the header begins a trace of its own."""
    ids = request_ids(None, None)
    assert (len(ids.trace_id), ids.parent_id, ids.sampled) == (32, "", True)
