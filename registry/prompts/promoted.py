"""Which prompt version serves: read from MLflow over plain REST, kept on disk, and never changed behind our back.

* PromptTampered (Refused) - a version's content is not what it was when first seen
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
from pydantic import ValidationError
from sqlalchemy import select

from registry.database import Database, insert_or_ignore
from registry.errors import Refused
from registry.insights import Record
from registry.prompts.mlflow_rest import MlflowRest
from registry.prompts.schema import PromptTemplate, content_hash
from registry.prompts.versions import PromotedVersion, PromptNotFound, PromptSource, require_valid
from registry.schema import prompt_hashes

PROMPTS_SIGNAL = "prompts"
"""Raised in the registry when an alias moved; every worker watches it."""

logger = logging.getLogger(__name__)


class PromptTampered(Refused):
    """The content of a version changed after it was first seen."""

    code = "prompt-tampered"


class _LastGood(Record):
    """The file of a version that has served."""

    name: str
    version: int
    alias: str
    template: PromptTemplate
    content_hash: str


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
        known = self._known(version)
        if known is None:
            row: dict[str, Any] = {
                "name": version.name,
                "version": version.version,
                "content_hash": version.content_hash,
                "first_seen_ms": int(self._clock() * 1000),
            }
            with self._database.write() as connection:
                insert_or_ignore(connection, prompt_hashes, row)
            known = self._known(version)
        if known != version.content_hash:
            raise PromptTampered(
                f"prompt {version.name!r} version {version.version} was changed after it was first seen; "
                "versions are final: push the new wording as a new version"
            )

    def _known(self, version: PromotedVersion) -> str | None:
        same = (prompt_hashes.c.name == version.name) & (prompt_hashes.c.version == version.version)
        with self._database.read() as connection:
            return connection.scalar(select(prompt_hashes.c.content_hash).where(same))


class PromotedPrompts:
    """The promoted versions as serving needs them: from MLflow when it answers, else the last good from disk.

    Args:
        mlflow_url: Base URL of the MLflow server.
        home: Last good versions are kept under `home/prompts`.
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
        self._directory = home / "prompts"

    async def fetch(self, name: str, alias: str) -> PromotedVersion:
        """The version that an alias points at now; kept as last good, which a removed alias withdraws.

        Raises:
            PromptNotFound: No such prompt or alias.
            PromptTampered: The version's content changed since it was first seen.
            InvalidTemplate: The version's tags hold no usable template.
            MlflowUnavailable: No usable answer within seconds.
        """
        try:
            version = await self._source.by_alias(name, alias)
        except PromptNotFound:
            self._forget(name, alias)
            raise
        await asyncio.to_thread(self._accept, version)
        return version

    async def fetch_version(self, name: str, version: int) -> PromotedVersion:
        """A version by its number, for evaluation; not kept as last good. Raises as `fetch`."""
        found = await self._source.by_version(name, version)
        await asyncio.to_thread(self._hashes.require_unchanged, found)
        return found

    def last_good(self, name: str, alias: str) -> PromotedVersion | None:
        """The version last fetched under this alias, also by an earlier process; None without a sound file."""
        require_valid(name, alias)
        path = self._path(name, alias)
        try:
            kept = _LastGood.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError):
            logger.warning("unreadable last good prompt", extra={"fields": {"prompt": name, "alias": alias}})
            return None
        if (kept.name, kept.alias, kept.content_hash) != (name, alias, content_hash(kept.template)):
            logger.warning("altered last good prompt", extra={"fields": {"prompt": name, "alias": alias}})
            return None
        return PromotedVersion(
            name=name, version=kept.version, alias=alias, template=kept.template, content_hash=kept.content_hash
        )

    async def aclose(self) -> None:
        """Close the connections to MLflow."""
        await self._rest.aclose()

    def _accept(self, version: PromotedVersion) -> None:
        self._hashes.require_unchanged(version)
        if self.last_good(version.name, version.alias) != version:
            self._keep(version)

    def _keep(self, version: PromotedVersion) -> None:
        """Write the file whole or not at all; several workers may write the same one at once."""
        kept = _LastGood(
            name=version.name,
            version=version.version,
            alias=version.alias,
            template=version.template,
            content_hash=version.content_hash,
        )
        path = self._path(version.name, version.alias)
        part = path.with_name(f"{path.name}.{os.getpid()}.{id(version)}.part")
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            with part.open("w", encoding="utf-8") as file:
                file.write(kept.model_dump_json(exclude_defaults=True))
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except OSError:
            with suppress(OSError):
                part.unlink()
            logger.exception("cannot keep last good prompt", extra={"fields": {"prompt": version.name}})

    def _forget(self, name: str, alias: str) -> None:
        """A withdrawn version must not come back when a later process finds MLflow away."""
        try:
            self._path(name, alias).unlink(missing_ok=True)
        except OSError as error:
            logger.warning(
                "cannot remove last good prompt", extra={"fields": {"prompt": name, "reason": error.strerror}}
            )

    def _path(self, name: str, alias: str) -> Path:
        return self._directory / f"{name}@{alias}.json"
