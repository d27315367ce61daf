"""One version of a prompt as MLflow holds it, read over plain REST.

* PromptNotFound (NotFound) - no such prompt, version or alias
"""

import re
from dataclasses import dataclass
from typing import cast

from registry.errors import InvalidInput, NotFound
from registry.prompts.mlflow_rest import Json, MlflowNotFound, MlflowRejected, MlflowRest
from registry.prompts.schema import PromptTemplate, content_hash
from registry.prompts.stored import SPEC_TAG, from_tags

INHERIT_PAGE = 100
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
        require_valid(name, alias)
        try:
            answer = await self._rest.get("registered-models/alias", {"name": name, "alias": alias})
        except (MlflowNotFound, MlflowRejected) as error:
            raise PromptNotFound(f"no prompt {name!r} under alias {alias!r}; promote a version first") from error
        return await self._assemble(name, alias, answer)

    async def by_version(self, name: str, version: int) -> PromotedVersion:
        """A version by its number; raises as `by_alias`."""
        require_valid(name)
        try:
            answer = await self._rest.get("model-versions/get", {"name": name, "version": str(version)})
        except (MlflowNotFound, MlflowRejected) as error:
            raise PromptNotFound(f"prompt {name!r} has no version {version}; see `assay prompts list`") from error
        return await self._assemble(name, "", answer)

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
        is_prompt = "tags.`mlflow.prompt.is_prompt` = 'true'"
        answer = await self._rest.get(
            "model-versions/search",
            {
                "filter": f"name = '{name}' AND {is_prompt}",
                "order_by": "version_number DESC",
                "max_results": str(INHERIT_PAGE),
            },
        )
        found = cast("list[Json]", answer.get("model_versions") or [])
        earlier = sorted((int(v["version"]), _tags(v)) for v in found if int(v["version"]) < version)
        specs = [tags[SPEC_TAG] for _, tags in earlier if SPEC_TAG in tags]
        return specs[-1] if specs else None


def require_valid(name: str, alias: str = "production") -> None:
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
