"""`assay ask` against an API that streams."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from rich.console import Console
from typer.testing import CliRunner

from flows.api_client import ApiClient
from flows.cli import console, insight_page
from flows.cli.main import app
from registry.errors import NotFound, Unavailable

INSIGHT = {
    "id": "ins_1",
    "use_case": "insights",
    "status": "served",
    "answer": "Nine arrived.",
    "claims": [],
    "passages": [],
    "prompt": {"name": "insights", "version": 1, "alias": "production"},
    "provider": {"name": "scripted", "model": "scripted"},
    "usage": {},
    "cost_usd": "0.000000000",
    "audit": {"log": "serve-1", "index": 0},
    "created_at": "2026-11-23T09:30:00Z",
}


def stream(*events: tuple[str, Any]) -> Callable[[httpx.Request], httpx.Response]:
    """An API that answers with these events."""
    lines = [
        b"event: %b\ndata: %b\n\n" % (name.encode(), httpx.Request("POST", "/", json=data).content)
        for name, data in events
    ]
    return lambda _request: httpx.Response(200, content=b": keep-alive\n\n".join(lines))


def client(answer: Callable[[httpx.Request], httpx.Response]) -> ApiClient:
    """A client of that API."""
    return ApiClient("http://api", "key", httpx.MockTransport(answer))


def test_the_answer_is_handed_over_while_it_is_written() -> None:
    """Each delta reaches the caller, line separators and all; `done` is the insight."""
    pieces: list[str] = []
    api = client(
        stream(
            ("meta", {"id": "ins_1"}), ("delta", {"text": "Nine "}), ("delta", {"text": "\u2028"}), ("done", INSIGHT)
        )
    )
    insight = api.ask("How many?", tenant="north", on_text=pieces.append)
    assert (pieces, insight.answer) == (["Nine ", "\u2028"], "Nine arrived.")


def test_a_deadline_as_short_as_the_api_takes_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command refuses no deadline that the API would take."""
    bodies: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        return httpx.Response(200, json=INSIGHT)

    monkeypatch.setattr(ApiClient, "from_settings", lambda _: client(answer))
    done = CliRunner().invoke(app, ["ask", "How many?", "--tenant", "north", "--deadline-s", "0.05", "--json"])
    assert (done.exit_code, [body["deadline_s"] for body in bodies]) == (0, [0.05])


def test_whom_it_is_about_is_sent() -> None:
    """Subject and session, by which experiments assign, reach the API; what was not given is left out."""
    sent: list[dict[str, Any]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(json.loads(request.content))
        return httpx.Response(200, json=INSIGHT)

    client(answer).ask("How many?", tenant="acme", subject="ada", session="s1")
    client(answer).ask("How many?", tenant="acme")
    question = {"question": "How many?", "use_case": "insights"}
    assert sent == [question | {"subject": "ada", "session": "s1"}, question]


def test_an_error_event_is_the_error_that_it_stands_for() -> None:
    """A stream that fails in the middle fails the call."""
    problem = {"status": 503, "code": "providers-unavailable", "detail": "no provider answered"}
    with pytest.raises(Unavailable, match="no provider answered"):
        client(stream(("meta", {}), ("error", problem))).ask("How many?", tenant="north", on_text=print)


def test_a_problem_before_the_stream_is_the_error_that_it_stands_for() -> None:
    """An early refusal is read as for a whole answer."""
    refusal = httpx.Response(404, json={"status": 404, "code": "use-case-not-found", "detail": "no use case"})
    with pytest.raises(NotFound, match="no use case"):
        client(lambda _request: refusal).ask("How many?", tenant="north", on_text=print)


def test_a_stream_that_is_cut_says_so() -> None:
    """Without `done` or `error` there is no insight."""
    with pytest.raises(Unavailable, match="before the answer was whole"):
        client(stream(("meta", {}), ("delta", {"text": "Nine"}))).ask("How many?", tenant="north", on_text=print)


@pytest.mark.parametrize("terminal", [True, False])
def test_only_a_terminal_is_streamed_to(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:  # noqa: FBT001 - a case
    """A person watches the answer being written; a pipe gets the page, once; both get the same page at the end."""
    asked: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(b'"stream":true' in request.content)
        return (
            stream(("delta", {"text": "Nine"}), ("done", INSIGHT))(request)
            if asked[-1]
            else httpx.Response(200, json=INSIGHT)
        )

    monkeypatch.setattr(ApiClient, "from_settings", lambda _settings: client(answer))
    for module in (console, insight_page):
        monkeypatch.setattr(module, "output", lambda: Console(force_terminal=terminal, width=100))
    result = CliRunner().invoke(app, ["ask", "How many?", "--tenant", "north"])
    assert result.exit_code == 0
    assert "Nine arrived." in result.output
    assert asked == [terminal]
