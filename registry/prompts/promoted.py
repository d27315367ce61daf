"""Prompt versions as serving needs them: from MLflow over plain REST or from disk, and never changed behind our back.

* PromptTampered (Refused) - a version's content is not what it was when first seen
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import select

from registry.database import Database, insert_or_ignore
from registry.errors import Refused
from registry.prompts.kept_templates import KeptTemplates
from registry.prompts.mlflow_rest import MlflowRest
from registry.prompts.promotion_records import Promotion
from registry.prompts.versions import PromotedVersion, PromptSource, require_valid
from registry.schema import prompt_hashes

PROMPTS_SIGNAL = "prompts"
"""Raised in the registry when an alias moved; every worker watches it."""


class PromptTampered(Refused):
    """The content of a version changed after it was first seen."""

    code = "prompt-tampered"


class PromptHashes:
    """Remembers the content hash of each (name, version), because MLflow lets a version's text be rewritten."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    def require_unchanged(self, version: PromotedVersion) -> None:
        """Remember a version seen for the first time; refuse one whose content changed since.

        Raises:
            PromptTampered: The content is not what it was.
        """
        known = self.known(version)
        if known is None:
            row: dict[str, Any] = {
                "name": version.name,
                "version": version.version,
                "content_hash": version.content_hash,
                "first_seen_ms": int(self._clock() * 1000),
            }
            with self._database.write() as connection:
                insert_or_ignore(connection, prompt_hashes, row)
            known = self.known(version)
        if known != version.content_hash:
            raise PromptTampered(
                f"prompt {version.name!r} version {version.version} was changed after it was first seen; "
                "versions are final: push the new wording as a new version"
            )

    def known(self, version: PromotedVersion) -> str | None:
        """The content hash that a version had when it was first seen; None: it never was. Remembers nothing."""
        same = (prompt_hashes.c.name == version.name) & (prompt_hashes.c.version == version.version)
        with self._database.read() as connection:
            return connection.scalar(select(prompt_hashes.c.content_hash).where(same))


class PromotedPrompts:
    """The versions that aliases point at and promotion records name.

    Args:
        mlflow_url: Base URL of the MLflow server.
        home: Templates that were proven are kept under `home/prompts`.
        database: Holds the remembered content hashes.
        client: Another HTTP client, e.g. one with a mock transport.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        mlflow_url: str,
        home: Path,
        database: Database,
        *,
        client: httpx.AsyncClient | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._rest = MlflowRest(mlflow_url, client=client)
        self._source = PromptSource(self._rest)
        self._hashes = PromptHashes(database, clock)
        self._kept = KeptTemplates(home / "prompts")

    async def fetch(self, name: str, alias: str) -> PromotedVersion:
        """The version that an alias points at now, whether or not it may serve.

        Raises:
            PromptNotFound: No such prompt or alias.
            PromptTampered: The version's content changed since it was first seen.
            InvalidTemplate: The version's tags hold no usable template.
            MlflowUnavailable: No usable answer within seconds.
        """
        version = await self._source.by_alias(name, alias)
        await asyncio.to_thread(self._hashes.require_unchanged, version)
        return version

    async def fetch_version(self, name: str, version: int) -> PromotedVersion:
        """A version by its number, for evaluation; raises as `fetch`."""
        found = await self._source.by_version(name, version)
        await asyncio.to_thread(self._hashes.require_unchanged, found)
        return found

    async def of_record(self, record: Promotion) -> PromotedVersion:
        """The version that a promotion record names: from disk, else from MLflow, and then kept.

        Raises:
            PromptTampered: MLflow holds another content under this number.
            PromptNotFound: MLflow has no such version.
            InvalidTemplate: The version's tags hold no usable template.
            MlflowUnavailable: No usable answer within seconds.
        """
        kept = await asyncio.to_thread(self.kept, record)
        if kept is not None:
            return kept
        found = await promoted_version(self._source, record)
        await asyncio.to_thread(self.keep, found)
        return replace(found, alias=record.alias)

    def kept(self, record: Promotion) -> PromotedVersion | None:
        """The version that a promotion record names, if it lies on disk; also of an earlier process."""
        require_valid(record.prompt_name)
        template = self._kept.find(record.prompt_name, record.content_hash)
        if template is None:
            return None
        return PromotedVersion(
            name=record.prompt_name,
            version=record.prompt_version,
            alias=record.alias,
            template=template,
            content_hash=record.content_hash,
        )

    def keep(self, version: PromotedVersion) -> None:
        """Keep a proven version for the days without MLflow."""
        self._kept.keep(version.template)

    async def aclose(self) -> None:
        """Close the connections to MLflow."""
        await self._rest.aclose()


async def promoted_version(source: PromptSource, record: Promotion) -> PromotedVersion:
    """The version that a promotion record names, as MLflow holds it.

    Raises:
        PromptTampered: MLflow holds another content under this number.
        PromptNotFound: MLflow has no such version.
        InvalidTemplate: The version's tags hold no usable template.
        MlflowUnavailable: No usable answer within seconds.
    """
    found = await source.by_version(record.prompt_name, record.prompt_version)
    if found.content_hash != record.content_hash:
        raise PromptTampered(
            f"prompt {found.name!r} version {found.version} is in MLflow not what was promoted; push its wording anew, "
            "and promote that or another version"
        )
    return found
