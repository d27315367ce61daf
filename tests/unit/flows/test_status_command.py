"""`assay status`: whether the parts run, what the API says of itself, and how the command ends."""

import json
import sys
from typing import Any

import httpx
import pytest

from flows.cli import main as rim
from flows.cli import platform_checks
from infra.local.supervisor import PartStatus, Platform

READY: dict[str, Any] = {"status": "ready", "dependencies": {"prompts": {"state": "ok"}}}
DEGRADED: dict[str, Any] = {
    "status": "degraded",
    "dependencies": {"prompts": {"state": "degraded", "detail": "alarm prompt-unproven"}, "engine": {"state": "ok"}},
}
DOWN: dict[str, Any] = {"status": "not-ready", "dependencies": {"engine": {"state": "down", "detail": "no answer"}}}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the API answers, the last one again and again; parts that run."""
    answers: list[Any] = []

    def get(_url: str, **_: Any) -> httpx.Response:
        if isinstance(answers[-1], Exception):
            raise answers[-1]
        return httpx.Response(200, json=answers[-1])

    running = PartStatus(name="api", url="http://api", state="running", pid=1, log=None)
    monkeypatch.setattr(Platform, "status", lambda _: [running])
    monkeypatch.setattr(platform_checks.httpx, "get", get)
    return answers


def status(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit code of `assay status`."""
    monkeypatch.setattr(sys, "argv", ["assay", "status", *arguments])
    with pytest.raises(SystemExit) as ended:
        rim.main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (READY, 0, "API: ready\n"),
        (DEGRADED, 0, "API: degraded; prompts degraded: alarm prompt-unproven\n"),
        (DOWN, 3, "API: not-ready; engine down: no answer\n"),
        (httpx.ConnectError("refused"), 3, "API: no-answer\n"),
        (["rubbish"], 3, "API: no-answer\n"),
        ({"status": "ready", "dependencies": None}, 3, "API: no-answer\n"),
    ],
)
def test_status_says_how_the_api_is(
    asked: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: object,
    code: int,
    words: str,
) -> None:
    """3 when questions cannot be answered; while they are, 0 and the word `degraded` with its reason."""
    asked.append(answer)
    assert status(monkeypatch) == code
    assert words in capsys.readouterr().out


def test_machines_read_it_beside_the_parts(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`parts` stay as they were; `readiness` stands beside them."""
    asked.append(DEGRADED)
    assert status(monkeypatch, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["parts"][0]["state"], told["readiness"]) == ("running", DEGRADED)


def test_a_part_that_does_not_run_ends_with_3(asked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while the API answers without it."""
    asked.append(READY)
    stopped = PartStatus(name="mlflow", url=None, state="stopped", pid=None, log=None)
    monkeypatch.setattr(Platform, "status", lambda _: [stopped])
    assert status(monkeypatch) == 3
