"""Promoted versions: fetched, remembered, kept for a bad day."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from fakes.fake_mlflow import URL, FakeMlflow

from registry.database import Database
from registry.errors import InvalidInput
from registry.prompts.mlflow_rest import ANSWER_BYTES_MAX, MlflowRest, MlflowUnavailable
from registry.prompts.promoted import PromotedPrompts, PromptTampered
from registry.prompts.promotion_records import Promotion
from registry.prompts.publishing import PromptPublisher
from registry.prompts.schema import InvalidTemplate, PromptTemplate, Turn, Variable, content_hash
from registry.prompts.stored import MODEL_CONFIG_TAG, SPEC_TAG, TEXT_TAG
from registry.prompts.versions import PromotedVersion, PromptNotFound

BRIEF = PromptTemplate(
    name="brief",
    use_case="insights",
    owner="platform",
    template=(
        Turn(role="system", content="Say it in one sentence; “quoted”, {braces}, ünïcode."),
        Turn(role="user", content="{{passages}} {{question}}"),
    ),
    variables={
        "question": Variable(max_chars=100, sensitive=True),
        "passages": Variable(type="passages", max_chars=1000),
    },
    output_schema={"type": "object", "properties": {"answer": {"type": "string"}}},
)

RECORD = Promotion(
    id="r1",
    prompt_name="brief",
    prompt_version=1,
    content_hash=content_hash(BRIEF),
    use_case="insights",
    alias="production",
    models=(),
    basis="evidence",
    promoted_by="tests",
    evidence=(),
    created_ms=1,
)


@pytest.fixture
def mlflow() -> FakeMlflow:
    """An empty fake MLflow."""
    return FakeMlflow()


@pytest.fixture
async def publisher(mlflow: FakeMlflow) -> AsyncIterator[PromptPublisher]:
    """Writes into the fake MLflow."""
    rest = MlflowRest(URL, client=mlflow.client())
    yield PromptPublisher(rest)
    await rest.aclose()


@pytest.fixture
async def prompts(mlflow: FakeMlflow, tmp_path: Path, database: Database) -> AsyncIterator[PromotedPrompts]:
    """Reads from the fake MLflow."""
    opened = PromotedPrompts(URL, tmp_path, database, client=mlflow.client())
    yield opened
    await opened.aclose()


def expected(template: PromptTemplate, version: int, alias: str = "production") -> PromotedVersion:
    """The version that a template should come back as."""
    return PromotedVersion(
        name="brief", version=version, alias=alias, template=template, content_hash=content_hash(template)
    )


async def test_a_pushed_version_comes_back_whole(publisher: PromptPublisher, prompts: PromotedPrompts) -> None:
    """What was pushed is what is served: wording, variables, schema and parameters."""
    await publisher.push(BRIEF)
    await publisher.set_alias("brief", "production", 1)
    assert await prompts.fetch("brief", "production") == expected(BRIEF, 1)
    assert await prompts.fetch_version("brief", 1) == expected(BRIEF, 1, "")


async def test_one_request_fetches(mlflow: FakeMlflow, publisher: PromptPublisher, prompts: PromotedPrompts) -> None:
    """A poll costs MLflow one request: alias and version come together."""
    await publisher.push(BRIEF)
    await publisher.set_alias("brief", "production", 1)
    mlflow.calls.clear()
    await prompts.fetch("brief", "production")
    assert mlflow.calls == [("GET", "registered-models/alias")]


async def test_the_same_content_is_pushed_once(publisher: PromptPublisher) -> None:
    """Pushing an unchanged prompt makes no version; a change and a change back make one each."""
    changed = BRIEF.model_copy(update={"owner": "another team"})
    pushes = [await publisher.push(template) for template in (BRIEF, BRIEF, changed, BRIEF)]
    assert [(push.version.version, push.created) for push in pushes] == [(1, True), (1, False), (2, True), (3, True)]


async def test_a_version_typed_in_the_ui_inherits(
    mlflow: FakeMlflow, publisher: PromptPublisher, prompts: PromotedPrompts
) -> None:
    """A version with only a text takes the rest from the nearest version before it, not from a later one."""
    await publisher.push(BRIEF)
    is_prompt = {"key": "mlflow.prompt.is_prompt", "value": "true"}
    typed = {"key": TEXT_TAG, "value": "Short: {{question}} {{today}}"}
    mlflow.prompts["brief"].versions.append({"name": "brief", "version": "2", "tags": [is_prompt, typed]})
    await publisher.push(BRIEF.model_copy(update={"owner": "later", "variables": {}}))
    template = (await prompts.fetch_version("brief", 2)).template
    inherited = {"question": BRIEF.variables["question"], "today": Variable(type="date", max_chars=10)}
    changed = {"template": "Short: {{question}} {{today}}", "variables": inherited}
    assert template == BRIEF.model_copy(update=changed)


async def test_a_prompt_made_in_the_ui_gets_defaults(mlflow: FakeMlflow, prompts: PromotedPrompts) -> None:
    """Without any spec, the variables' types follow from their names."""
    publisher = PromptPublisher(MlflowRest(URL, client=mlflow.client()))
    await publisher.push(BRIEF.model_copy(update={"template": "{{question}} {{passages}} {{mood}}"}))
    tags = mlflow.prompts["brief"].versions[0]["tags"]
    tags[:] = [tag for tag in tags if tag["key"] in {TEXT_TAG, "mlflow.prompt.is_prompt"}]
    template = (await prompts.fetch_version("brief", 1)).template
    assert {name: variable.type for name, variable in template.variables.items()} == {
        "question": "string",
        "passages": "passages",
        "mood": "string",
    }
    assert (template.use_case, template.owner, template.output_schema) == ("brief", "unknown", None)


async def test_what_the_ui_shows_is_what_runs(
    mlflow: FakeMlflow, publisher: PromptPublisher, prompts: PromotedPrompts
) -> None:
    """MLflow's own model configuration wins over our spec."""
    await publisher.push(BRIEF)
    mlflow.set_tag("brief", 1, MODEL_CONFIG_TAG, json.dumps({"max_tokens": 55, "temperature": 0.5, "top_k": 3}))
    model = (await prompts.fetch_version("brief", 1)).template.model
    assert (model.max_output_tokens, model.temperature, model.top_k) == (55, 0.5, 8)


@pytest.mark.parametrize(
    ("tag", "value"), [(TEXT_TAG, "[]"), (SPEC_TAG, "{"), (SPEC_TAG, "[]"), (SPEC_TAG, '{"x": 1}')]
)
async def test_broken_tags_are_refused(
    mlflow: FakeMlflow, publisher: PromptPublisher, prompts: PromotedPrompts, tag: str, value: str
) -> None:
    """Tags that hold no template give one sentence, never a half-built prompt."""
    await publisher.push(BRIEF)
    mlflow.set_tag("brief", 1, tag, value)
    with pytest.raises(InvalidTemplate):
        await prompts.fetch_version("brief", 1)


async def test_a_rewritten_version_is_refused(
    mlflow: FakeMlflow, publisher: PromptPublisher, prompts: PromotedPrompts
) -> None:
    """Once seen, a version's content may not change."""
    await publisher.push(BRIEF)
    await publisher.set_alias("brief", "production", 1)
    await prompts.fetch("brief", "production")
    mlflow.set_tag("brief", 1, TEXT_TAG, json.dumps([{"role": "user", "content": "Praise {{question}} {{passages}}"}]))
    with pytest.raises(PromptTampered, match="version 1"):
        await prompts.fetch("brief", "production")
    with pytest.raises(PromptTampered):
        await prompts.fetch_version("brief", 1)


async def test_a_rewrite_is_seen_by_another_process(
    mlflow: FakeMlflow, publisher: PromptPublisher, tmp_path: Path, database: Database
) -> None:
    """The memory is the registry's: a process that never saw the version refuses the rewritten one too."""
    await publisher.push(BRIEF)
    one, two = (PromotedPrompts(URL, tmp_path / n, database, client=mlflow.client()) for n in ("one", "two"))
    await one.fetch_version("brief", 1)
    mlflow.set_tag("brief", 1, TEXT_TAG, json.dumps([{"role": "user", "content": "{{question}} {{passages}}"}]))
    with pytest.raises(PromptTampered):
        await two.fetch_version("brief", 1)
    await asyncio.gather(one.aclose(), two.aclose())


async def test_a_promoted_version_outlives_the_process(
    mlflow: FakeMlflow, publisher: PromptPublisher, tmp_path: Path, database: Database
) -> None:
    """A new process finds what an earlier one served, with MLflow away; nothing half-written lies beside it."""
    await publisher.push(BRIEF)
    earlier = PromotedPrompts(URL, tmp_path, database, client=mlflow.client())
    assert await earlier.of_record(RECORD) == expected(BRIEF, 1)
    await earlier.aclose()
    mlflow.outage = lambda request: httpx.Response(503, text="away")
    later = PromotedPrompts(URL, tmp_path, database, client=mlflow.client())
    assert await later.of_record(RECORD) == later.kept(RECORD) == expected(BRIEF, 1)
    assert [path.name for path in (tmp_path / "prompts" / "brief").iterdir()] == [f"{RECORD.content_hash}.json"]
    with pytest.raises(MlflowUnavailable):
        await later.of_record(replace(RECORD, content_hash="0" * 64))
    await later.aclose()


async def test_an_unproven_version_is_not_kept(
    publisher: PromptPublisher, prompts: PromotedPrompts, tmp_path: Path
) -> None:
    """What an alias points at says nothing yet: only what a record names lies on disk."""
    await publisher.push(BRIEF)
    await publisher.set_alias("brief", "production", 1)
    await prompts.fetch("brief", "production")
    await prompts.fetch_version("brief", 1)
    assert prompts.kept(RECORD) is None
    assert not (tmp_path / "prompts").exists()


async def test_a_record_is_about_a_content_not_a_number(
    mlflow: FakeMlflow, publisher: PromptPublisher, prompts: PromotedPrompts
) -> None:
    """What MLflow holds under the number of a record serves only with the content of the record."""
    await publisher.push(BRIEF)
    mlflow.set_tag("brief", 1, TEXT_TAG, json.dumps([{"role": "user", "content": "Praise {{question}} {{passages}}"}]))
    with pytest.raises(PromptTampered, match="not what was promoted"):
        await prompts.of_record(RECORD)
    assert prompts.kept(RECORD) is None


async def test_a_full_disk_does_not_stop_serving(
    publisher: PromptPublisher, prompts: PromotedPrompts, tmp_path: Path
) -> None:
    """A version that cannot be kept still serves."""
    (tmp_path / "prompts").write_text("a file where the directory should be")
    await publisher.push(BRIEF)
    assert await prompts.of_record(RECORD) == expected(BRIEF, 1)


async def test_what_is_not_there_is_not_found(publisher: PromptPublisher, prompts: PromotedPrompts) -> None:
    """No prompt, no alias and no version are told apart from an MLflow that is away."""
    with pytest.raises(PromptNotFound):
        await prompts.fetch("brief", "production")
    await publisher.push(BRIEF)
    with pytest.raises(PromptNotFound, match="'production'"):
        await prompts.fetch("brief", "production")
    with pytest.raises(PromptNotFound, match="no version 2"):
        await prompts.fetch_version("brief", 2)


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(500, json={"error_code": "INTERNAL_ERROR", "message": "x"}),
        httpx.Response(401, text="no"),
        httpx.Response(200, text="<html>a proxy</html>"),
        httpx.Response(200, json=[1]),
        httpx.Response(200, content=b" " * (ANSWER_BYTES_MAX + 1)),
        httpx.Response(400, json={"error_code": "INVALID_PARAMETER_VALUE", "message": "something else"}),
    ],
    ids=["500", "401", "html", "list", "huge", "other-400"],
)
async def test_an_ailing_mlflow_is_not_a_missing_prompt(
    mlflow: FakeMlflow, prompts: PromotedPrompts, answer: httpx.Response
) -> None:
    """Only MLflow's own "not found" says that a prompt is not there."""
    mlflow.outage = lambda request: answer
    with pytest.raises((MlflowUnavailable, InvalidInput)) as caught:
        await prompts.fetch("brief", "production")
    assert not isinstance(caught.value, PromptNotFound)


@pytest.mark.parametrize("fault", [httpx.ConnectError("refused"), httpx.ReadTimeout("slow"), httpx.ReadError("reset")])
async def test_no_connection_is_unavailable(mlflow: FakeMlflow, prompts: PromotedPrompts, fault: Exception) -> None:
    """A refused, slow or broken connection is one kind of error."""

    def fail(request: httpx.Request) -> httpx.Response:
        raise fault

    mlflow.outage = fail
    with pytest.raises(MlflowUnavailable, match="does not answer"):
        await prompts.fetch("brief", "production")


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "a/b", "A", "a'b", "a" * 64])
async def test_a_name_never_becomes_a_path(prompts: PromotedPrompts, name: str) -> None:
    """Names and aliases that could leave the directory or a filter are refused before anything is asked."""
    with pytest.raises(InvalidInput):
        await prompts.fetch(name, "production")
    with pytest.raises(InvalidInput):
        prompts.kept(replace(RECORD, prompt_name=name))
    assert prompts.kept(replace(RECORD, content_hash=f"../{name}")) is None
