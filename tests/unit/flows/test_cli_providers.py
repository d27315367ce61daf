"""`assay providers list`."""

import json
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from flows.api_client import ApiClient
from flows.cli.main import app
from serving.routes.providers import PROVIDERS_EXAMPLE


@pytest.fixture(autouse=True)
def api(monkeypatch: pytest.MonkeyPatch) -> None:
    """An API that gives the example of its own description."""

    def answer(request: httpx.Request) -> httpx.Response:
        assert (request.method, request.url.path) == ("GET", "/v1/providers")
        return httpx.Response(200, json=PROVIDERS_EXAMPLE)

    def client(_settings: Any) -> ApiClient:
        return ApiClient("http://api", "key", httpx.MockTransport(answer))

    monkeypatch.setattr(ApiClient, "from_settings", client)


def test_machines_get_the_items() -> None:
    """One JSON document on standard output."""
    result = CliRunner().invoke(app, ["providers", "list", "--json"])
    assert json.loads(result.stdout) == PROVIDERS_EXAMPLE["items"]


def test_people_get_a_table_with_what_is_remarkable() -> None:
    """State, figures, and in words what somebody should look at."""
    printed = " ".join(CliRunner().invoke(app, ["providers", "list"]).stdout.split())
    for word in ("anthropic", "open", "5806.1", "Overloaded", "claude-sonnet-5-5-20260901"):
        assert word in printed
