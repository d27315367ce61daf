"""One version of a prompt as MLflow holds it, read over plain REST.

* PromptNotFound (NotFound) - no such prompt, version or alias
"""

import re
from dataclasses import dataclass
from typing import cast

from registry.errors import InvalidInput, NotFound
from registry.prompts.mlflow_rest import Json, MlflowNotFound, MlflowRejected, MlflowRest
from registry.prompts.policy import SERVING_ALIAS
from registry.prompts.schema import PromptTemplate, content_hash
from registry.prompts.stored import SPEC_TAG, from_tags

INHERIT_PAGE = 100
VERSION_DIGITS_MAX = 9
IS_PROMPT = "tags.`mlflow.prompt.is_prompt` = 'true'"
"""MLflow keeps prompts among its registered models and hides them from a search without this."""
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
_ALIAS = re.compile(r"[A-Za-z0-9_-]{1,64}")


class PromptNotFound(NotFound):
    """No such prompt, version or alias in MLflow."""

    code = "prompt-not-found"


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotedVersion:
    """One version of a prompt, ready to render."""

    name: str
    version: int
    alias: str
    """The alias it was found under; empty when it was asked for by number."""
    template: PromptTemplate
    content_hash: str
    """SHA-256 (hex) of the unrendered template, parameters and schema."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptReference:
    """`NAME`, `NAME@ALIAS` or `NAME/VERSION`."""

    name: str
    alias: str | None = None
    version: int | None = None
    """None, and no alias: the newest version."""


def parse_reference(text: str) -> PromptReference:
    """Read `NAME`, `NAME@ALIAS` or `NAME/VERSION`.

    Raises:
        InvalidInput: It is none of these.
    """
    name, at, alias = text.partition("@")
    if at:
        require_valid(name, alias)
        return PromptReference(name=name, alias=alias)
    name, slash, number = text.partition("/")
    require_valid(name)
    if not slash:
        return PromptReference(name=name)
    if not (number.isascii() and number.isdigit() and 0 < len(number) <= VERSION_DIGITS_MAX):
        raise InvalidInput(f"{text!r} names no version; write NAME, NAME@ALIAS or NAME/VERSION")
    return PromptReference(name=name, version=int(number))


class PromptSource:
    """Reads prompt versions from MLflow; remembers and checks nothing.

    Args:
        rest: The way to MLflow; whoever made it closes it.
    """

    def __init__(self, rest: MlflowRest) -> None:
        self._rest = rest

    async def by_alias(self, name: str, alias: str) -> PromotedVersion:
        """The version that an alias points at.

        Raises:
            PromptNotFound: No such prompt or alias.
            InvalidTemplate: The version's tags hold no usable template.
            MlflowUnavailable: No usable answer.
        """
        return await self._assemble(name, alias, await self._under(name, alias))

    async def number_under(self, name: str, alias: str) -> int | None:
        """The number of the version that an alias points at, whatever the version holds; None: no such alias.

        Raises:
            MlflowUnavailable: No usable answer.
        """
        try:
            answer = await self._under(name, alias)
        except PromptNotFound:
            return None
        return int(cast("Json", answer.get("model_version") or {}).get("version", 0))

    async def by_version(self, name: str, version: int) -> PromotedVersion:
        """A version by its number; raises as `by_alias`."""
        require_valid(name)
        try:
            answer = await self._rest.get("model-versions/get", {"name": name, "version": str(version)})
        except MlflowNotFound as error:
            raise PromptNotFound(f"prompt {name!r} has no version {version}; see `assay prompts list`") from error
        return await self._assemble(name, "", answer)

    async def newest(self, name: str) -> PromotedVersion:
        """The version with the highest number; raises as `by_alias`."""
        found = await self._versions(name, limit=1)
        if not found:
            raise PromptNotFound(f"there is no prompt {name!r}; see `assay prompts list`")
        return await self._assemble(name, "", {"model_version": found[0]})

    async def find(self, reference: PromptReference) -> PromotedVersion:
        """The version that a reference names; raises as `by_alias`."""
        if reference.alias is not None:
            return await self.by_alias(reference.name, reference.alias)
        if reference.version is not None:
            return await self.by_version(reference.name, reference.version)
        return await self.newest(reference.name)

    async def _under(self, name: str, alias: str) -> Json:
        require_valid(name, alias)
        try:
            return await self._rest.get("registered-models/alias", {"name": name, "alias": alias})
        except (MlflowNotFound, MlflowRejected) as error:
            # MLflow answers a missing alias of an existing prompt with 400, like any unfit parameter.
            if isinstance(error, MlflowRejected) and "not found" not in error.message:
                raise
            remedy = "promote a version first" if alias == SERVING_ALIAS else "set it, or name a version"
            raise PromptNotFound(f"no prompt {name!r} under alias {alias!r}; {remedy}") from error

    async def _assemble(self, name: str, alias: str, answer: Json) -> PromotedVersion:
        stored = cast("Json", answer.get("model_version") or {})
        version, tags = int(stored.get("version", 0)), _tags(stored)
        inherited = None if SPEC_TAG in tags else await self._spec_before(name, version)
        template = from_tags(name, tags, inherited)
        return PromotedVersion(
            name=name, version=version, alias=alias, template=template, content_hash=content_hash(template)
        )

    async def _spec_before(self, name: str, version: int) -> str | None:
        """`assay.spec` of the nearest earlier version among the newest hundred."""
        found = ((int(stored["version"]), _tags(stored)) for stored in await self._versions(name, INHERIT_PAGE))
        specs = [(number, tags[SPEC_TAG]) for number, tags in found if number < version and SPEC_TAG in tags]
        return max(specs)[1] if specs else None

    async def _versions(self, name: str, limit: int) -> list[Json]:
        """The newest versions, newest first."""
        require_valid(name)
        parameters = {
            "filter": f"name = '{name}' AND {IS_PROMPT}",
            "order_by": "version_number DESC",
            "max_results": str(limit),
        }
        answer = await self._rest.get("model-versions/search", parameters)
        return cast("list[Json]", answer.get("model_versions") or [])


def require_valid(name: str, alias: str = SERVING_ALIAS) -> None:
    """Refuse a name or alias that could not be a file name or a part of a filter.

    Raises:
        InvalidInput: Says which characters to use.
    """
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"{name!r} is no prompt name; use lower-case letters, digits, '_', '.', '-'")
    if not _ALIAS.fullmatch(alias):
        raise InvalidInput(f"{alias!r} is no alias; use letters, digits, '_', '-'")


def _tags(stored: Json) -> dict[str, str]:
    return {str(tag["key"]): str(tag.get("value", "")) for tag in cast("list[Json]", stored.get("tags") or [])}
