"""Prompt versions into MLflow, over the same REST calls that MLflow's own UI makes.

* NotAPrompt (Conflict) - the name belongs to a registered model
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from registry.errors import Conflict
from registry.prompts.mlflow_rest import Json, MlflowNotFound, MlflowRest
from registry.prompts.schema import PromptTemplate, content_hash
from registry.prompts.stored import to_tags
from registry.prompts.versions import IS_PROMPT, PromotedVersion, PromptNotFound, PromptSource, require_valid

PROMPTS_PAGE = 200
PROMPTS_MAX = 2_000
_IS_PROMPT_TAG: Json = {"key": "mlflow.prompt.is_prompt", "value": "true"}
_SOURCE = "dummy-source"
"""MLflow wants a source for every version and accepts, for prompts, only the one its own UI sends."""


class NotAPrompt(Conflict):
    """MLflow has a registered model of this name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """What a push came to."""

    version: PromotedVersion
    created: bool
    """False: the newest version already had this content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSummary:
    """One prompt, for a list."""

    name: str
    newest: int
    """Highest version number; 0 before the first version."""
    aliases: Mapping[str, int]
    """Alias → version."""
    description: str
    updated_ms: int


class PromptPublisher:
    """Writes prompt versions and aliases.

    Args:
        rest: The way to MLflow; whoever made it closes it.
    """

    def __init__(self, rest: MlflowRest) -> None:
        self._rest = rest
        self._source = PromptSource(rest)

    async def push(self, template: PromptTemplate, message: str = "") -> Pushed:
        """Make the template a new version, unless the newest version already has its content.

        Args:
            template: What to store.
            message: Why, shown beside the version in MLflow's UI.

        Raises:
            NotAPrompt: The name belongs to a registered model.
            MlflowUnavailable: No usable answer.
            MlflowRejected: MLflow refused the version.
        """
        await self._ensure_prompt(template)
        newest = await self._newest(template.name)
        if newest is not None and newest.template == template:
            return Pushed(version=newest, created=False)
        answer = await self._rest.send(
            "POST",
            "model-versions/create",
            {
                "name": template.name,
                "source": _SOURCE,
                "description": message,
                "tags": [_IS_PROMPT_TAG, *({"key": key, "value": text} for key, text in to_tags(template).items())],
            },
        )
        version = PromotedVersion(
            name=template.name,
            version=int(cast("Json", answer["model_version"])["version"]),
            alias="",
            template=template,
            content_hash=content_hash(template),
        )
        return Pushed(version=version, created=True)

    async def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias at a version; every set and every move makes MLflow push a webhook.

        Raises:
            MlflowUnavailable: No usable answer.
            MlflowNotFound: No such prompt or version.
        """
        require_valid(name, alias)
        body: Json = {"name": name, "alias": alias, "version": str(version)}
        await self._rest.send("POST", "registered-models/alias", body)

    async def alias_version(self, name: str, alias: str) -> int | None:
        """The number of the version that an alias points at; None when there is no such alias.

        Raises:
            MlflowUnavailable: No usable answer.
            InvalidTemplate: The version's tags hold no usable template.
        """
        try:
            return (await self._source.by_alias(name, alias)).version
        except PromptNotFound:
            return None

    async def list(self) -> tuple[PromptSummary, ...]:
        """All prompts by name, at most 2000.

        Raises:
            MlflowUnavailable: No usable answer.
        """
        found: list[PromptSummary] = []
        parameters = {"filter": IS_PROMPT, "max_results": str(PROMPTS_PAGE)}
        for _ in range(PROMPTS_MAX // PROMPTS_PAGE):
            answer = await self._rest.get("registered-models/search", parameters)
            found += [_summary(stored) for stored in cast("list[Json]", answer.get("registered_models") or [])]
            if not answer.get("next_page_token"):
                break
            parameters["page_token"] = str(answer["next_page_token"])
        return tuple(sorted(found, key=lambda prompt: prompt.name))

    async def _ensure_prompt(self, template: PromptTemplate) -> None:
        try:
            answer = await self._rest.get("registered-models/get", {"name": template.name})
        except MlflowNotFound:
            body: Json = {"name": template.name, "description": template.description, "tags": [_IS_PROMPT_TAG]}
            await self._rest.send("POST", "registered-models/create", body)
            return
        tags = cast("list[Json]", cast("Json", answer["registered_model"]).get("tags") or [])
        if _IS_PROMPT_TAG not in tags:
            raise NotAPrompt(f"MLflow has a registered model named {template.name!r}; give the prompt another name")

    async def _newest(self, name: str) -> PromotedVersion | None:
        try:
            return await self._source.newest(name)
        except PromptNotFound:
            return None


def _summary(stored: Json) -> PromptSummary:
    latest = cast("list[Json]", stored.get("latest_versions") or [])
    aliases = cast("list[Json]", stored.get("aliases") or [])
    return PromptSummary(
        name=str(stored["name"]),
        newest=max((int(version["version"]) for version in latest), default=0),
        aliases={str(alias["alias"]): int(alias["version"]) for alias in aliases},
        description=str(stored.get("description") or ""),
        updated_ms=int(stored.get("last_updated_timestamp") or 0),
    )
