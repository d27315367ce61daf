"""The fake MLflow with the gate's own decisions before its changes: a database that goes away, an audit log of hooks.

`registry.prompts.gate` binds the same gatekeeper to MLflow's store; here it is bound to the fake's requests.
"""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
from fakes.fake_mlflow import FakeMlflow, FakeMlflowError, Json
from sqlalchemy import Connection

from registry.database import Database, DatabaseUnavailable
from registry.errors import AssayError, JsonValue, Unavailable
from registry.prompts.authorship import remember_author
from registry.prompts.gatekeeper import Gatekeeper, GateSettings
from registry.prompts.mlflow_rest import KEY_HEADER
from registry.prompts.schema import content_hash
from registry.prompts.stored import from_tags
from registry.prompts.versions import PromotedVersion

CONTENT_TAGS = ("mlflow.prompt.", "_mlflow_prompt_", "assay.spec")


class LeavingDatabase(Database):
    """A database that a test sends away."""

    away = False

    @contextmanager
    def read(self) -> Generator[Connection]:
        """As the base class, or nothing."""
        self._require()
        with super().read() as connection:
            yield connection

    @contextmanager
    def write(self) -> Generator[Connection]:
        """As the base class, or nothing."""
        self._require()
        with super().write() as connection:
            yield connection

    def _require(self) -> None:
        if self.away:
            raise DatabaseUnavailable("the test sent the registry away")


class NotingGatekeeper(Gatekeeper):
    """The real gatekeeper on a database of the test; its notes go to the test."""

    def __init__(
        self,
        settings: GateSettings,
        registry: Database,
        note: Callable[[str, Mapping[str, JsonValue]], object],
        clock: Callable[[], float],
    ) -> None:
        super().__init__(settings, clock)
        self._registry = registry
        self._noted = note

    def database(self) -> Database:
        """The test's."""
        return self._registry

    def note(self, kind: str, body: Mapping[str, JsonValue]) -> None:
        """Told to the test."""
        self._noted(kind, body)


class GatedFake:
    """Puts a gatekeeper before the changes of a fake MLflow.

    Args:
        mlflow: The fake.
        keeper: Decides.
        before_move: Called between the record and the moving of the alias.
    """

    def __init__(self, mlflow: FakeMlflow, keeper: Gatekeeper, before_move: Callable[[], None]) -> None:
        self._mlflow = mlflow
        self._keeper = keeper
        self._before_move = before_move
        mlflow.gate = self._decide

    def _decide(self, request: httpx.Request, path: str, sent: Json, do: Callable[[], Json]) -> Json:
        """Refuse, or do it."""
        method = request.method, path
        try:
            if method == ("POST", "registered-models/alias"):
                return self._move(sent, request.headers.get(KEY_HEADER), do)
            if method == ("DELETE", "registered-models/alias"):
                name, alias = sent["name"], sent["alias"]
                self._refuse_if(alias in self._keeper.aliases(name) and self._keeper.may_serve(name, alias))
            if method == ("DELETE", "model-versions/delete"):
                self._refuse_if(self._serves(sent["name"], int(sent["version"])))
            if path in {"model-versions/set-tag", "model-versions/delete-tag"}:
                self._refuse_if(sent["key"].startswith(CONTENT_TAGS))
            answer = do()
            if method == ("POST", "model-versions/create"):
                self._note_author(answer["model_version"], request.headers.get(KEY_HEADER))
        except Unavailable as error:
            raise FakeMlflowError(503, "TEMPORARILY_UNAVAILABLE", error.message) from error
        except AssayError as error:
            raise FakeMlflowError(403, "PERMISSION_DENIED", error.message) from error
        return answer

    def _move(self, sent: Json, who: str | None, do: Callable[[], Json]) -> Json:
        policy = self._keeper.policy(sent["name"], sent["alias"])
        if policy is None:
            return do()
        stored = self._mlflow.version(sent["name"], sent["version"])
        with self._keeper.moving(), self._keeper.promotion(policy, _as_prompt(stored, sent["alias"]), who or "unknown"):
            self._before_move()
            return do()

    def _serves(self, name: str, version: int) -> bool:
        self._mlflow.version(name, str(version))
        aliases = self._mlflow.prompts[name].aliases
        pointing = [alias for alias in self._keeper.aliases(name) if aliases.get(alias) == str(version)]
        serves = any(self._keeper.may_serve(name, alias) for alias in pointing)
        return serves or self._keeper.version_may_serve(name, version)

    def _note_author(self, stored: Json, who: str | None) -> None:
        try:
            remember_author(self._keeper.database(), _as_prompt(stored, ""), who)
        except Unavailable:
            return  # the version is there, and its author unknown

    def _refuse_if(self, condition: bool) -> None:  # noqa: FBT001 - read as a sentence
        if condition:
            raise FakeMlflowError(403, "PERMISSION_DENIED", "the gate refuses this")


def _as_prompt(stored: Json, alias: str) -> PromotedVersion:
    tags: dict[str, Any] = {tag["key"]: tag["value"] for tag in stored["tags"]}
    template = from_tags(stored["name"], tags)
    return PromotedVersion(
        name=stored["name"],
        version=int(stored["version"]),
        alias=alias,
        template=template,
        content_hash=content_hash(template),
    )
