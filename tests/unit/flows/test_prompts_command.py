"""`assay prompts`: what it prints, for people and for machines, and how it ends."""

import json
from pathlib import Path

import httpx
import pytest
from fakes.fake_mlflow import FakeMlflow
from prompt_commands import SHIPPED, doctor, evaluated, run, run_json, two_versions

from flows.api_client import ApiClient
from registry.database import open_database
from registry.errors import InvalidInput
from registry.prompts.promotion_records import ServingModel, tell_serving_models
from registry.prompts.revocation import NoPromotion
from registry.prompts.schema import load_template, parse_template
from registry.tenants import Keys, Unauthenticated

BROKEN = """
name: broken
use_case: insights
owner: platform
template: Answer {{question}} from {{nothing}}.
variables: {question: {max_chars: 10}}
"""


def test_lint_passes_a_sound_file() -> None:
    """A sound prompt ends with 0 and says so."""
    assert run("lint", SHIPPED).endswith("insights: sound\n")
    document = run_json("lint", SHIPPED)
    assert (document["name"], document["ok"], document["findings"]) == ("insights", True, [])


def test_lint_shows_the_tokens_of_each_message() -> None:
    """What is fixed, what a vendor can cache and what data may add stands there for every message."""
    assert "of which cacheable" in run("lint", SHIPPED)
    system, user = run_json("lint", SHIPPED)["sections"]
    assert (system["role"], system["data_tokens_max"]) == ("system", 0)
    assert system["cacheable_tokens"] == system["fixed_tokens"] > 100
    assert (user["role"], user["data_tokens_max"]) == ("user", (10 + 24_000 + 12_000 + 4_000) // 4)
    assert 0 < user["cacheable_tokens"] < user["fixed_tokens"]


def test_lint_ends_with_1_on_an_error(tmp_path: Path) -> None:
    """An error ends with 1 and names its rule; a machine reads the same."""
    file = tmp_path / "broken.yaml"
    file.write_text(BROKEN)
    assert "undeclared-variable" in run("lint", file, code=1)
    document = run_json("lint", file, code=1)
    assert (document["ok"], document["findings"][0]["code"]) == (False, "undeclared-variable")


def test_an_unreadable_file_is_wrong_input(tmp_path: Path) -> None:
    """A file that is no prompt is wrong input, which the command line ends with 2."""
    with pytest.raises(InvalidInput, match=r"missing\.yaml"):
        run("lint", tmp_path / "missing.yaml")


def test_push_makes_a_candidate(mlflow: FakeMlflow) -> None:
    """A push makes a version and points `candidate` at it; the same again makes none."""
    first, again = run_json("push", SHIPPED, "-m", "why"), run_json("push", SHIPPED)
    assert (first["version"], first["created"]) == (1, True)
    assert again == first | {"created": False}
    assert mlflow.prompts["insights"].aliases == {"candidate": "1"}
    assert mlflow.prompts["insights"].versions[0]["description"] == "why"
    assert "insights/1 was there already" in run("push", SHIPPED)


def test_a_prompt_with_lint_errors_is_not_pushed(mlflow: FakeMlflow, tmp_path: Path) -> None:
    """What could never be promoted does not become the candidate."""
    file = tmp_path / "broken.yaml"
    file.write_text(BROKEN)
    assert "undeclared-variable" in run("push", file, code=1)
    assert mlflow.prompts == {}


def test_list_and_show(mlflow: FakeMlflow) -> None:
    """What was pushed is listed, and shown whole."""
    assert run("list") == "Prompts: none\n"
    run("push", SHIPPED)
    (listed,) = run_json("list")
    assert (listed["name"], listed["newest"], listed["aliases"]) == ("insights", 1, {"candidate": 1})
    assert "candidate" in run("list")
    shown = run_json("show", "insights@candidate")
    assert parse_template(json.dumps(shown["prompt"])) == load_template(SHIPPED)
    assert (shown["findings"], shown["evidence"]) == ([], [])
    assert "You answer business questions" in run("show", "insights")


def test_a_version_is_shown_as_a_file_that_can_be_pushed(mlflow: FakeMlflow, database_url: str, tmp_path: Path) -> None:
    """Into a file goes YAML that is the same prompt, lines unbroken, with what is in force though nobody wrote it."""
    file = tmp_path / "shown.yaml"
    long = "Answer {{question}} " + "at great length " * 12
    file.write_text(
        f"{{name: insights, use_case: insights, owner: p, template: '{long}\n\n    and more', "
        "variables: {question: {max_chars: 99}}}"
    )
    pushed = run_json("push", file)
    evaluated(database_url, pushed)
    file.write_text(run("show", "insights/1"))
    assert run_json("push", file) == pushed | {"created": False}
    lines = [line.strip() for line in file.read_text().splitlines()]
    assert {"max_output_tokens: 800", "top_k: 8", "type: string"} <= set(lines)
    assert any(line.startswith("# ") and "extractive-1" in line for line in lines)


def test_diff_shows_what_changed(mlflow: FakeMlflow, tmp_path: Path) -> None:
    """Changed lines carry their sign; equal versions say that they are."""
    changed = tmp_path / "insights.yaml"
    changed.write_text(SHIPPED.read_text().replace("at most three sentences", "one sentence"))
    run("push", SHIPPED)
    run("push", changed)
    lines = run("diff", "insights/1", "insights/2").splitlines()
    assert [line[:1] for line in lines if "sentence" in line] == ["-", "+"]
    assert run("diff", "insights/1", "insights/1") == "no difference\n"
    assert run_json("diff", "insights/1", "insights@candidate")["diff"] == lines


def test_promote_refuses_and_then_promotes(mlflow: FakeMlflow, database_url: str) -> None:
    """Without an evaluation: exit 1 and the command that makes it. With one: the alias moves."""
    pushed = run_json("push", SHIPPED)
    refused = run_json("promote", "insights", 1, code=1)
    assert refused["promoted"] is False
    assert "assay evaluate run --prompt insights/1" in refused["missing"][0]
    assert run("promote", "insights", 1, code=1) == ""
    evaluated(database_url, pushed)
    promoted = run_json("promote", "insights", 1)
    assert (promoted["promoted"], promoted["alias"], promoted["policy"]) == (True, "production", "evaluation + lint")
    assert (promoted["basis"], promoted["models"], promoted["skipped"]) == (
        "evidence",
        [["extractive", "extractive-1"]],
        [],
    )
    assert mlflow.prompts["insights"].aliases["production"] == "1"
    assert "by the policy's evaluation + lint" in run("promote", "insights", 1)
    assert run_json("show", "insights/1")["records"][0]["record"] == promoted["record"]
    assert "Promotion records" in run("show", "insights/1")


def test_a_rollback_leads_to_the_version_before(mlflow: FakeMlflow, database_url: str, tmp_path: Path) -> None:
    """Its record is enough; twice leads back; where the alias points at what may not serve, what serves is the way."""
    two_versions(database_url, tmp_path)
    assert mlflow.prompts["insights"].aliases["production"] == "2"
    assert run_json("rollback", "insights")["version"] == 1
    assert "insights/2 is now production" in run("rollback", "insights")
    mlflow.point("insights", "production", 3)
    assert run_json("rollback", "insights")["version"] == 2
    mlflow.point("insights", "production", None)
    assert run_json("rollback", "insights")["version"] == 2


def test_what_is_revoked_does_not_return(mlflow: FakeMlflow, database_url: str, tmp_path: Path) -> None:
    """A rollback finds the versions that may still serve, and says so when there is none."""
    two_versions(database_url, tmp_path)
    (ended,) = run_json("revoke", "insights", 1, "--reason", "it is rude")
    assert ended["alias"] == "production"
    with pytest.raises(NoPromotion, match="no other version of prompt 'insights' may be 'production'"):
        run("rollback", "insights")
    with pytest.raises(NoPromotion, match="insights/1 has no valid promotion record"):
        run("revoke", "insights", 1, "--reason", "again")
    assert run("revoke", "insights", 2, "-m", "rude, too").startswith("insights/2 may serve no longer as production")


@pytest.mark.parametrize(
    ("command", "path", "body"),
    [
        (("approve",), "approvals", {"decision": "approve", "reason": "why"}),
        (("approve", "--reject"), "approvals", {"decision": "reject", "reason": "why"}),
        (("waive", "--hours", 4), "waivers", {"hours": 4.0, "reason": "why"}),
    ],
)
def test_words_go_to_the_api(
    monkeypatch: pytest.MonkeyPatch, command: tuple[object, ...], path: str, body: dict[str, object]
) -> None:
    """With the key of whoever speaks; the command line itself writes nothing into the registry."""
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(201, json={"by": "ada"})

    def client(_settings: object) -> ApiClient:
        return ApiClient("http://api", "key", httpx.MockTransport(answer))

    monkeypatch.setattr(ApiClient, "from_settings", client)
    name, *options = command
    assert run(name, "insights", 2, "--reason", "why", *options).startswith("ada ")
    assert (sent[0].url.path, json.loads(sent[0].content)) == (f"/v1/prompts/insights/2/{path}", body)


def test_hours_are_a_number() -> None:
    """JSON has no word for what is no number; a sentence says so before anything is sent."""
    api = ApiClient("http://api", "key", httpx.MockTransport(lambda _request: httpx.Response(500)))
    with pytest.raises(InvalidInput, match="hours must be a number above 0, not nan"):
        api.waive("insights", 2, float("nan"), "why")


def test_an_unfit_key_moves_nothing(mlflow: FakeMlflow, monkeypatch: pytest.MonkeyPatch, database_url: str) -> None:
    """A promotion bears the name of the key's owner; a key that opens nothing is no name."""
    evaluated(database_url, run_json("push", SHIPPED))
    monkeypatch.setenv("ASSAY_KEY", "assay_0_0")
    with pytest.raises(Unauthenticated):
        run("promote", "insights", 1)
    database = open_database(database_url)
    monkeypatch.setenv("ASSAY_KEY", Keys(database).create("engineer", None, "ada").key)
    database.close()
    assert run_json("promote", "insights", 1)["promoted_by"] == "ada"


def test_doctor_says_who_answers_and_why(mlflow: FakeMlflow, database_url: str) -> None:
    """Before a promotion, with a model whose evidence came later, and when the record is gone."""
    pushed = run_json("push", SHIPPED)
    assert doctor() == ["warning: no prompt 'insights' under alias 'production'; promote a version first"]
    evaluated(database_url, pushed)
    run("promote", "insights", 1)
    assert doctor() == ["ok: extractive extractive-1 has its evidence"]
    database = open_database(database_url)
    chain = [ServingModel(provider=each, model=f"{each}-1") for each in ("extractive", "local")]
    tell_serving_models(database, chain)
    database.close()
    assert "warning: local is skipped: no evaluation with local local-1" in doctor()[1]
    evaluated(database_url, pushed, "local")
    assert doctor()[1] == (
        "warning: local local-1 has its evidence now; let it answer with `assay prompts promote insights 1`"
    )
    run("revoke", "insights", 1, "--reason", "rude")
    assert doctor()[0].startswith(
        "warning: alias 'production' of use case 'insights' points at insights/1: no valid promotion record lets its "
        "content serve; nothing serves; run `assay prompts promote insights 1`"
    )


def test_wrong_usage_ends_with_2(mlflow: FakeMlflow) -> None:
    """A version that is no number is wrong usage."""
    run("promote", "insights", "one", code=2)
    run("promote", "insights", code=2)
