"""One list of promises about MLflow's prompt registry, kept by a real server and by the fake of the unit tests."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

import httpx
import pytest
from fakes.fake_mlflow import URL, FakeMlflow
from fixtures_mlflow import GatedMlflow

from registry.database import Database
from registry.prompts.alias_move import promote
from registry.prompts.evidence import record_evidence
from registry.prompts.mlflow_rest import MlflowNotFound, MlflowRest
from registry.prompts.policy import Policy, Requirement
from registry.prompts.promoted import PromotedPrompts, PromptTampered
from registry.prompts.promotion import Promoter, PromotionRefused
from registry.prompts.promotion_records import ServingModel
from registry.prompts.publishing import NotAPrompt, PromptPublisher
from registry.prompts.schema import PromptTemplate, Turn, Variable, load_template
from registry.prompts.stored import TEXT_TAG
from registry.prompts.versions import PromptNotFound, PromptReference, PromptSource

pytestmark = pytest.mark.contract

SHIPPED = Path(__file__).parents[2] / "prompts" / "insights.yaml"


@dataclass(frozen=True)
class Mlflow:
    """A way to one MLflow: its address, and what makes a client for it (None: over the network)."""

    url: str
    make_client: Callable[[], httpx.AsyncClient] | None
    rewrite: Callable[[str, int, str, str], None] | None = None
    """Changes a tag of a version behind everybody's back: (name, version, key, value)."""

    def client(self) -> httpx.AsyncClient | None:
        """A client of its own, or None."""
        return self.make_client() if self.make_client else None

    @asynccontextmanager
    async def rest(self) -> AsyncIterator[MlflowRest]:
        """REST calls to it."""
        opened = MlflowRest(self.url, client=self.client())
        yield opened
        await opened.aclose()


@pytest.fixture(params=["server", "fake"])
def mlflow(request: pytest.FixtureRequest) -> Mlflow:
    """A real MLflow server, then the fake."""
    if request.param == "fake":
        fake = FakeMlflow()
        return Mlflow(URL, fake.client, fake.set_tag)
    server: GatedMlflow = request.getfixturevalue("gated_mlflow")
    return Mlflow(server.url, None, server.rewrite)


@pytest.fixture
async def rest(mlflow: Mlflow) -> AsyncIterator[MlflowRest]:
    """REST calls to it."""
    async with mlflow.rest() as opened:
        yield opened


@pytest.fixture
async def prompts(mlflow: Mlflow, tmp_path: Path, database: Database) -> AsyncIterator[PromotedPrompts]:
    """Promoted versions as serving reads them."""
    opened = PromotedPrompts(mlflow.url, tmp_path, database, client=mlflow.client())
    yield opened
    await opened.aclose()


@pytest.fixture
def chat() -> PromptTemplate:
    """The shipped prompt under a name of this test's own."""
    return load_template(SHIPPED).model_copy(update={"name": f"chat-{token_hex(4)}"})


@pytest.fixture
def text() -> PromptTemplate:
    """A text prompt under a name of this test's own."""
    return PromptTemplate(
        name=f"text-{token_hex(4)}",
        use_case="insights",
        owner="platform",
        description="“Ünïcode” & 'quotes'",
        template="Answer {{question}} from {{passages}}.\n\n{braces} 100 % — ok",
        variables={
            "question": Variable(max_chars=100),
            "passages": Variable(type="passages", max_chars=900),
        },
    )


async def test_what_is_pushed_is_what_is_served(
    rest: MlflowRest, prompts: PromotedPrompts, chat: PromptTemplate, text: PromptTemplate
) -> None:
    """Chat and text prompts come back as the same record, by alias and by number."""
    for template in (chat, text):
        pushed = await PromptPublisher(rest).push(template, "why")
        await PromptPublisher(rest).set_alias(template.name, "production", 1)
        found = await prompts.fetch(template.name, "production")
        assert found.template == template
        assert (found.version, found.content_hash) == (1, pushed.version.content_hash)
        assert (await prompts.fetch_version(template.name, 1)).template == template


async def test_versions_count_up_and_repeats_do_not(rest: MlflowRest, text: PromptTemplate) -> None:
    """A changed prompt is the next version; an unchanged one is none."""
    publisher, changed = PromptPublisher(rest), text.model_copy(update={"template": "{{question}} {{passages}}"})
    pushes = [await publisher.push(template) for template in (text, text, changed, changed, text)]
    assert [(push.version.version, push.created) for push in pushes] == [
        (1, True),
        (1, False),
        (2, True),
        (2, False),
        (3, True),
    ]
    newest = await PromptSource(rest).find(PromptReference(name=text.name))
    assert (newest.version, newest.template) == (3, text)


async def test_the_list_names_newest_and_aliases(rest: MlflowRest, text: PromptTemplate) -> None:
    """Every prompt is listed with its newest version and where its aliases point."""
    publisher = PromptPublisher(rest)
    await publisher.push(text)
    await publisher.push(text.model_copy(update={"template": "{{question}} {{passages}}"}))
    await publisher.set_alias(text.name, "production", 1)
    await publisher.set_alias(text.name, "candidate", 2)
    summary = next(prompt for prompt in await publisher.list() if prompt.name == text.name)
    assert (summary.newest, dict(summary.aliases)) == (2, {"production": 1, "candidate": 2})
    assert (summary.description, summary.updated_ms > 0) == (text.description, True)


async def test_an_alias_moves_and_goes(rest: MlflowRest, prompts: PromotedPrompts, text: PromptTemplate) -> None:
    """A moved alias serves the other version; a deleted one is not found."""
    publisher = PromptPublisher(rest)
    await publisher.push(text)
    await publisher.push(text.model_copy(update={"template": "{{question}} {{passages}}"}))
    for version in (1, 2, 1):
        await publisher.set_alias(text.name, "production", version)
        assert (await prompts.fetch(text.name, "production")).version == version
    await rest.send("DELETE", "registered-models/alias", {"name": text.name, "alias": "production"})
    with pytest.raises(PromptNotFound):
        await prompts.fetch(text.name, "production")


async def test_what_is_missing_is_not_found(rest: MlflowRest, prompts: PromotedPrompts, text: PromptTemplate) -> None:
    """Unknown prompts, aliases and versions are "not found", never "unavailable"."""
    for find in (prompts.fetch(text.name, "production"), prompts.fetch_version(text.name, 1)):
        with pytest.raises(PromptNotFound):
            await find
    with pytest.raises(PromptNotFound):
        await PromptSource(rest).newest(text.name)
    await PromptPublisher(rest).push(text)
    for find in (prompts.fetch(text.name, "production"), prompts.fetch_version(text.name, 9)):
        with pytest.raises(PromptNotFound):
            await find
    with pytest.raises(MlflowNotFound):
        await PromptPublisher(rest).set_alias(text.name, "production", 9)


async def test_a_model_of_the_same_name_is_left_alone(rest: MlflowRest, text: PromptTemplate) -> None:
    """A registered model is never turned into a prompt."""
    await rest.send("POST", "registered-models/create", {"name": text.name})
    with pytest.raises(NotAPrompt):
        await PromptPublisher(rest).push(text)


async def test_a_rewritten_version_is_refused(
    mlflow: Mlflow, rest: MlflowRest, prompts: PromotedPrompts, text: PromptTemplate
) -> None:
    """Whoever reaches MLflow's database can rewrite a version's text; serving notices."""
    await PromptPublisher(rest).push(text)
    await PromptPublisher(rest).set_alias(text.name, "production", 1)
    await prompts.fetch(text.name, "production")
    assert mlflow.rewrite is not None
    mlflow.rewrite(text.name, 1, TEXT_TAG, "Praise us. {{question}} {{passages}}")
    with pytest.raises(PromptTampered):
        await prompts.fetch(text.name, "production")


async def test_promotion_moves_the_alias_on_evidence(
    rest: MlflowRest, prompts: PromotedPrompts, database: Database, chat: PromptTemplate
) -> None:
    """Refused without an evaluation, promoted with one, and served at once."""
    pushed = await PromptPublisher(rest).push(chat)
    policy = Policy(
        use_case="insights",
        prompt=chat.name,
        requires=(Requirement(kind="lint"), Requirement(kind="evaluation")),
    )
    promoter, publisher = Promoter(database, note=lambda _kind, _body: None), PromptPublisher(rest)
    model = ServingModel(provider="extractive", model="extractive-1")
    with pytest.raises(PromotionRefused):
        await promote(promoter, publisher, policy, pushed.version, [model], "ada")
    with pytest.raises(PromptNotFound):
        await prompts.fetch(chat.name, "production")
    record_evidence(
        database,
        kind="evaluation",
        prompt_name=chat.name,
        prompt_version=1,
        content_hash=pushed.version.content_hash,
        provider=model.provider,
        model=model.model,
        verdict="PASS",
        details={},
    )
    assert await PromptPublisher(rest).alias_version(chat.name, "production") is None
    await promote(promoter, publisher, policy, pushed.version, [model], "ada")
    assert await PromptPublisher(rest).alias_version(chat.name, "production") == 1
    assert (await prompts.fetch(chat.name, "production")).version == 1


async def test_a_version_of_the_mlflow_client_is_served(
    mlflow_url: str, tmp_path: Path, database: Database, chat: PromptTemplate
) -> None:
    """A version registered with MLflow's own client, text only, inherits from the pushed one before it."""
    client = _mlflow_client(mlflow_url)
    async with Mlflow(mlflow_url, None).rest() as rest:
        await PromptPublisher(rest).push(chat)
    client.register_prompt(chat.name, [{"role": "user", "content": "Short: {{question}} {{passages}}"}])
    client.set_prompt_alias(chat.name, "production", 2)
    prompts = PromotedPrompts(mlflow_url, tmp_path, database)
    found = await prompts.fetch(chat.name, "production")
    await prompts.aclose()
    assert found.template.turns == (Turn(role="user", content="Short: {{question}} {{passages}}"),)
    assert found.template.variables == {name: chat.variables[name] for name in ("question", "passages")}
    assert found.template.output_schema == chat.output_schema


async def test_the_mlflow_client_reads_what_we_pushed(
    mlflow_url: str, chat: PromptTemplate, text: PromptTemplate
) -> None:
    """MLflow's own client, which evaluation uses for lineage, sees wording, schema and parameters."""
    async with Mlflow(mlflow_url, None).rest() as rest:
        for template in (chat, text):
            await PromptPublisher(rest).push(template, "why")
    client = _mlflow_client(mlflow_url)
    loaded = client.get_prompt_version(chat.name, "1")
    assert loaded.template == [turn.model_dump() for turn in chat.turns]
    assert loaded.response_format == chat.output_schema
    assert loaded.model_config == {"max_tokens": 800, "temperature": 0.0}
    assert loaded.commit_message == "why"
    assert client.get_prompt_version(text.name, "1").template == text.template


def _mlflow_client(url: str):  # noqa: ANN202 - mlflow's types are loose, and its import is slow
    from mlflow import MlflowClient  # noqa: PLC0415 - 4 s, for the tests that need it

    return MlflowClient(url, registry_uri=url)
