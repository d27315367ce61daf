"""Rubbish typed at `assay prompts` and `assay experiments`: a sentence, the right exit code, no traceback."""

import json
import sys
from pathlib import Path

import httpx
import pytest
from fakes.fake_mlflow import FakeMlflow
from prompt_commands import SHIPPED, evaluated, run_json

from flows.cli import main as rim
from registry.database import Database
from registry.prompts.promotion_records import valid_promotions

HUGE = "1" + "0" * 30
NO_UNICODE = "a\udcff"
"""What Python makes of a byte that is no UTF-8."""


@pytest.fixture
def promoted(mlflow: FakeMlflow, database_url: str) -> FakeMlflow:
    """One version that serves."""
    evaluated(database_url, run_json("push", SHIPPED))
    run_json("promote", "insights", 1)
    return mlflow


def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `assay`, as a shell gets them."""
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["assay", *arguments])
    with pytest.raises(SystemExit) as ended:
        rim.main()
    told = capsys.readouterr()
    return int(ended.value.code or 0), told.out, told.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ("prompts promote insights 0", 2, "greater than or equal to 1"),
        (f"prompts promote insights {HUGE}", 2, "less than or equal to"),
        (f"prompts revoke insights {HUGE} -m x", 2, "less than or equal to"),
        (f"prompts approve insights {HUGE} -m x", 2, "less than or equal to"),
        (f"prompts waive insights {HUGE} -m x --hours 1", 2, "less than or equal to"),
        (f"prompts show insights/{HUGE}", 2, "names no version"),
        ("prompts show insights/99", 2, "has no version 99"),
        ("prompts show 💥", 2, "no prompt name"),
        ("prompts revoke 💥 1 -m x", 2, "no prompt name"),
        ("prompts rollback 💥", 2, "no prompt name"),
        ("prompts approve ../x 1 -m x", 2, "no prompt name"),
        ("prompts waive ../x 1 -m x --hours 1", 2, "no prompt name"),
        ("prompts rollback nosuch", 2, "names prompt 'nosuch'"),
        ("prompts performance nosuch", 2, "names prompt 'nosuch'"),
        ("prompts performance 💥", 2, "no prompt name"),
        (f"prompts revoke insights 1 -m {NO_UNICODE}", 2, "not valid Unicode"),
        (f"prompts approve insights 1 -m {NO_UNICODE}", 2, "not valid Unicode"),
        (f"prompts push {SHIPPED} -m {NO_UNICODE}", 2, "not valid Unicode"),
        (f"prompts revoke insights 1 -m {'x' * 1_001}", 2, "1 to 1000 characters"),
        (f"prompts lint {SHIPPED.parent}", 2, "is a folder"),
        ("experiments plan nosuch", 2, "names prompt 'nosuch'"),
        ("experiments plan nosuch --mean 0.5 --units-per-day 9", 2, "names prompt 'nosuch'"),
        ("experiments plan insights --mean 0.5 --units-per-day 9 --effect 1e-300", 2, "larger --effect"),
        ("experiments plan insights --mean 0.5 --units-per-day 9 --effect 1e-5", 2, "1,000,000 at most"),
        ("experiments plan insights --mean 0.5 --units-per-day 9 --share 1e-300", 2, "--share is at least"),
        ("experiments plan insights --mean 0.5 --units-per-day 9 --share nan", 2, "--share is at least"),
        ("experiments plan insights --mean 0.5 --units-per-day 1e-300 --days 1e-300", 2, "--days is at least"),
        ("experiments plan insights --mean 0.5 --units-per-day 0.01", 2, "let more units take part"),
        (f"experiments start insights {HUGE}", 2, "less than or equal to"),
        ("experiments start nosuch 1", 2, "names prompt 'nosuch'"),
        (f"experiments status {NO_UNICODE}", 2, "not valid Unicode"),
        (f"experiments stop {NO_UNICODE} --reason x", 2, "not valid Unicode"),
        (f"experiments stop exp_0 --reason {NO_UNICODE}", 2, "not valid Unicode"),
        ("experiments stop exp_0 --reason x", 2, "exp_0"),
    ],
)
def test_rubbish_is_one_sentence(
    promoted: FakeMlflow,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: str,
    code: int,
    words: str,
) -> None:
    """2 for what nobody can mean and for what is not there; nothing on standard output."""
    ended, out, err = typed(monkeypatch, capsys, *arguments.split(" "))
    assert (ended, out) == (code, "")
    assert words in " ".join(err.replace("│", " ").split())
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ("prompts show insights/99", "prompt-not-found", "has no version 99"),
        ("prompts show insights@nix", "prompt-not-found", "alias 'nix'; set it, or name a version"),
        ("prompts show 💥", "invalid-request", "no prompt name"),
        ("prompts promote insights 0", "invalid-request", "'version': input should be greater"),
        ("prompts promote insights", "invalid-request", "version"),
        ("prompts promote insights 1 --odd", "invalid-request", "--odd"),
    ],
)
def test_a_failure_is_one_document(
    promoted: FakeMlflow,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: str,
    code: str,
    words: str,
) -> None:
    """Who asked for JSON reads why there is no result, with a code to act on; people read it as before."""
    ended, out, err = typed(monkeypatch, capsys, *arguments.split(" "), "--json")
    error = json.loads(out)["error"]
    assert (ended, error["code"], set(error)) == (2, code, {"code", "message"})
    assert words in error["message"].lower()
    assert err


def test_rubbish_ends_no_record(promoted: FakeMlflow, database: Database) -> None:
    """Whatever was typed above, production serves on."""
    assert len(valid_promotions(database, "insights", "production", 2**53)) == 1


def test_a_refused_push_is_one_document(
    mlflow: FakeMlflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The findings of a prompt that is not stored are JSON too where JSON was asked for."""
    file = tmp_path / "broken.yaml"
    file.write_text("name: broken\nuse_case: insights\nowner: p\ntemplate: Answer {{question}}.\nvariables: {}\n")
    ended, out, err = typed(monkeypatch, capsys, "prompts", "push", str(file), "--json")
    document = json.loads(out)
    assert (ended, document["version"], document["findings"][0]["severity"]) == (1, None, "error")
    assert "not stored" in err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--weights", "1,x"), "'1,x' is not numbers parted by commas: 'x' is no number"),
        (("--ramp", "soon"), "'soon' is not HOURS:SHARE: 'soon' is no number"),
        (("--guardrail", "cost:x"), "'cost:x' is not METRIC:TOLERANCE: 'x' is no number"),
        (("--ramp", "0:1", "--ramp", "5:0.1"), "error: a ramp starts at hour 0"),
        (("--alpha", "0.9"), "error: alpha: should be less than or equal to 0.2"),
    ],
)
def test_options_are_refused_in_our_words(
    promoted: FakeMlflow,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    more: tuple[str, ...],
    words: str,
) -> None:
    """Which option, what was typed, and what it should be; not what Python's float() says."""
    changed = tmp_path / "insights.yaml"
    changed.write_text(SHIPPED.read_text().replace("at most three sentences", "one sentence"))
    run_json("push", changed)
    ended, _, err = typed(monkeypatch, capsys, "experiments", "start", "insights", "2", *more)
    assert (ended, words in " ".join(err.split())) == (2, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ("list",),
        ("show", "insights"),
        ("diff", "insights/1", "insights/1"),
        ("promote", "insights", "1"),
        ("rollback", "insights"),
        ("push", str(SHIPPED)),
    ],
)
def test_mlflow_away_ends_with_3(
    promoted: FakeMlflow,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
) -> None:
    """A dependency is down: one sentence, nothing on standard output."""

    def away(_request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no")

    promoted.outage = away
    ended, out, err = typed(monkeypatch, capsys, "prompts", *arguments, "--json")
    assert (ended, err.startswith("error: MLflow does not answer")) == (3, True)
    assert json.loads(out)["error"]["code"] == "mlflow-unavailable"


@pytest.mark.parametrize(
    "arguments",
    [
        ("prompts", "list"),
        ("prompts", "show", "insights"),
        ("prompts", "promote", "insights", "1"),
        ("prompts", "revoke", "insights", "1", "-m", "x"),
        ("prompts", "performance", "insights"),
        ("experiments", "status"),
        ("experiments", "start", "insights", "1"),
        ("experiments", "plan", "insights"),
        ("experiments", "stop", "exp_0", "--reason", "x"),
    ],
)
def test_the_registry_away_ends_with_3(
    promoted: FakeMlflow,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
) -> None:
    """Nobody knows then what serves, and no half of an answer is given."""
    monkeypatch.setenv("ASSAY_DATABASE_URL", "sqlite:////nowhere/registry.db")
    ended, out, err = typed(monkeypatch, capsys, *arguments, "--json")
    assert (ended, "there is no registry at" in err) == (3, True)
    assert "there is no registry at" in json.loads(out)["error"]["message"]
