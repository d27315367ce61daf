"""The gate in the MLflow server: a model registry store that asks for evidence before an alias moves.

Every way into MLflow's model registry ends in the methods of its store: the UI, the REST API under each of its
prefixes, MLflow's own client, with basic auth and without. `mlflow server --registry-store-uri assay+sqlite:///FILE`
(or `assay+postgresql+psycopg://...`) puts this store there.

* set_registered_model_alias - a protected alias moves on evidence, a waiver or an earlier record only
* delete_*, rename, transition - what serves is not pulled away, and no other prompt slips into its name
* set/delete_model_version_tag - a version's content is final; description and other tags stay free
* create_model_version - notes author and content, and lets a version say all that it is
* *_webhook - only for admins: the push that tells serving depends on them

A refusal is MLflow's PERMISSION_DENIED (403) with one sentence; trouble of the gate itself is 503, and nothing moves.
"""

# pyright: basic
# mlflow's annotations are partial, and strict mode would report its modules rather than ours.

import logging
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Any, NoReturn

from mlflow.entities.model_registry import ModelVersion, ModelVersionTag, RegisteredModel, RegisteredModelTag
from mlflow.entities.webhook import Webhook
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED, TEMPORARILY_UNAVAILABLE, UNAUTHENTICATED
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore

from registry.errors import AssayError, InvalidInput, JsonValue, Unavailable
from registry.prompts.authorship import remember_author
from registry.prompts.gate_actor import Actor, current_actor, current_author
from registry.prompts.gatekeeper import Gatekeeper, GateSettings
from registry.prompts.schema import content_hash
from registry.prompts.stored import SPEC_TAG, TEXT_TAG, from_tags, is_content, stated_in_full
from registry.prompts.versions import INHERIT_PAGE, IS_PROMPT, PromotedVersion, require_valid
from registry.tenants import Keys, Unauthenticated

PREFIX = "assay+"
IS_PROMPT_TAG = "mlflow.prompt.is_prompt"

logger = logging.getLogger(__name__)


class GatedStore(SqlAlchemyStore):
    """MLflow's model registry on SQLite or PostgreSQL, with the gate before its changes.

    Args:
        store_uri: the database's URI with `assay+` before it.

    Raises:
        GateClosed: there are no policies, or one cannot be used.
    """

    def __init__(self, store_uri: str) -> None:
        self._gate = Gatekeeper(GateSettings())
        super().__init__(store_uri.removeprefix(PREFIX))

    def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
        """Point an alias at a version; a protected one only when the policy finds what it asks for."""
        with _told_to_mlflow():
            policy = self._gate.policy(name, alias)
        if policy is None:
            super().set_registered_model_alias(name, alias, version)
            return
        stored = self.get_model_version(name, version)
        with _told_to_mlflow():
            by, wanted = self._actor().name, self._as_prompt(name, stored, alias)
            with self._gate.moving(), self._gate.promotion(policy, wanted, by):
                super().set_registered_model_alias(name, alias, version)

    def delete_registered_model_alias(self, name: str, alias: str) -> None:
        """Remove an alias; a protected one only once nothing may serve under it any more."""
        with _told_to_mlflow():
            protected = self._gate.policy(name, alias) is not None
            if protected and self._gate.may_serve(name, alias):
                self._refuse(
                    "delete alias",
                    f"alias {alias!r} of prompt {name!r} serves and cannot be deleted; point it at another version, or "
                    f"end its promotions with `assay prompts revoke {name} VERSION --reason WHY`",
                    prompt=name,
                    alias=alias,
                )
        super().delete_registered_model_alias(name, alias)
        if protected:
            self._gate.announce()

    def delete_model_version(self, name: str, version: str) -> None:
        """Delete a version, unless its content may serve or an alias that serves points at it."""
        with _told_to_mlflow():
            aliases = self._gate.aliases(name)
        if aliases:
            pointing = set(aliases).intersection(self.get_model_version(name, version).aliases)
            with _told_to_mlflow():
                serves = any(self._gate.may_serve(name, alias) for alias in pointing)
                if serves or self._gate.version_may_serve(name, int(version)):
                    self._refuse(
                        "delete version",
                        f"version {version} of prompt {name!r} may serve and cannot be deleted; run "
                        f"`assay prompts revoke {name} {version} --reason WHY` first",
                        prompt=name,
                        version=str(version),
                    )
        super().delete_model_version(name, version)

    def delete_registered_model(self, name: str) -> None:
        """Delete a prompt or model, unless a version of it may serve."""
        with _told_to_mlflow():
            if self._gate.aliases(name) and self._gate.may_serve(name):
                self._refuse(
                    "delete prompt",
                    f"prompt {name!r} serves and cannot be deleted; end its promotions with "
                    f"`assay prompts revoke {name} VERSION --reason WHY`",
                    prompt=name,
                )
        super().delete_registered_model(name)

    def rename_registered_model(self, name: str, new_name: str) -> RegisteredModel:
        """Rename a prompt or model, unless a policy names it or the new name: aliases would come along."""
        with _told_to_mlflow():
            named = next((each for each in (name, new_name) if self._gate.aliases(each)), None)
            if named is not None:
                self._refuse(
                    "rename prompt",
                    f"a policy names prompt {named!r}, so nothing is renamed from or to it; push the wording under the "
                    "other name instead",
                    prompt=name,
                    new_name=new_name,
                )
        return super().rename_registered_model(name, new_name)

    def transition_model_version_stage(
        self,
        name: str,
        version: str,
        stage: str,
        archive_existing_versions: bool,  # noqa: FBT001 - MLflow's own signature
    ) -> ModelVersion:
        """Move a version to a stage; where a policy names the prompt, that would only look like a promotion."""
        with _told_to_mlflow():
            if self._gate.aliases(name):
                self._refuse(
                    "change stage",
                    f"prompt {name!r} is promoted by alias, and stages decide nothing; set its alias instead",
                    prompt=name,
                    version=str(version),
                )
        return super().transition_model_version_stage(name, version, stage, archive_existing_versions)

    def set_registered_model_tag(self, name: str, tag: RegisteredModelTag) -> None:
        """Tag a prompt or model; which of the two it is stays as it was made."""
        if tag.key == IS_PROMPT_TAG and tag.value != self._kind(name):
            self._refuse_kind(name)
        super().set_registered_model_tag(name, tag)

    def delete_registered_model_tag(self, name: str, key: str) -> None:
        """Remove a tag of a prompt or model; which of the two it is stays as it was made."""
        if key == IS_PROMPT_TAG and self._kind(name) is not None:
            self._refuse_kind(name)
        super().delete_registered_model_tag(name, key)

    def set_model_version_tag(self, name: str, version: str, tag: ModelVersionTag) -> None:
        """Tag a version; its content is final."""
        self._require_no_content(name, version, tag.key)
        super().set_model_version_tag(name, version, tag)

    def delete_model_version_tag(self, name: str, version: str, key: str) -> None:
        """Remove a tag of a version; its content is final."""
        self._require_no_content(name, version, key)
        super().delete_model_version_tag(name, version, key)

    def create_model_version(
        self,
        name: str,
        source: str,
        run_id: str | None = None,
        tags: Iterable[ModelVersionTag] | None = None,
        run_link: str | None = None,
        description: str | None = None,
        local_model_path: str | None = None,
        model_id: str | None = None,
    ) -> ModelVersion:
        """Create a version, and note who wrote which content."""
        given: dict[str, str] = {tag.key: tag.value for tag in tags or ()}
        with _told_to_mlflow():
            author = self._author()
            if self._gate.aliases(name):
                given = stated_in_full(name, given, self._spec_before(name))
        every = [ModelVersionTag(key, value) for key, value in given.items()]
        created = super().create_model_version(
            name, source, run_id, every, run_link, description, local_model_path, model_id
        )
        self._note_author(name, created, author)
        return created

    def create_webhook(self, *args: Any, **kwargs: Any) -> Webhook:
        """Register a webhook, as an admin."""
        self._require_admin("create webhook")
        return super().create_webhook(*args, **kwargs)

    def update_webhook(self, *args: Any, **kwargs: Any) -> Webhook:
        """Change a webhook, as an admin."""
        self._require_admin("update webhook")
        return super().update_webhook(*args, **kwargs)

    def delete_webhook(self, webhook_id: str) -> None:
        """Delete a webhook, as an admin."""
        self._require_admin("delete webhook")
        super().delete_webhook(webhook_id)

    def _actor(self) -> Actor:
        return current_actor(lambda: Keys(self._gate.database()))

    def _author(self) -> str | None:
        """Who writes a version; nobody, rather than no version at all, while the registry is away."""
        try:
            return current_author(lambda: Keys(self._gate.database()))
        except Unavailable as error:
            logger.warning("the author of a version stays unknown: %s", error)
            return None

    def _note_author(self, name: str, created: ModelVersion, author: str | None) -> None:
        if TEXT_TAG not in created.tags:
            return  # a model
        try:
            remember_author(self._gate.database(), self._as_prompt(name, created, ""), author)
        except InvalidInput:
            logger.info("%s/%s is no template of ours", name, created.version)
        except Unavailable as error:
            logger.warning("the author of %s/%s stays unknown: %s", name, created.version, error)

    def _as_prompt(self, name: str, stored: ModelVersion, alias: str) -> PromotedVersion:
        """A stored version as serving will read it."""
        number, tags = int(stored.version), stored.tags
        template = from_tags(name, tags, None if SPEC_TAG in tags else self._spec_before(name, number))
        return PromotedVersion(
            name=name, version=number, alias=alias, template=template, content_hash=content_hash(template)
        )

    def _spec_before(self, name: str, number: int | None = None) -> str | None:
        """`assay.spec` of the nearest version before a number, else of the newest, among the newest hundred."""
        require_valid(name)
        found = self.search_model_versions(
            f"name = '{name}' AND {IS_PROMPT}", max_results=INHERIT_PAGE, order_by=["version_number DESC"]
        )
        before = (each for each in found if number is None or int(each.version) < number)
        return next((each.tags[SPEC_TAG] for each in before if SPEC_TAG in each.tags), None)

    def _kind(self, name: str) -> str | None:
        return self.get_registered_model(name)._tags.get(IS_PROMPT_TAG)  # noqa: SLF001 - `tags` leaves this one out

    def _refuse_kind(self, name: str) -> NoReturn:
        with _told_to_mlflow():
            self._refuse(
                "change kind",
                f"{name!r} stays the prompt or model that it is; tag {IS_PROMPT_TAG!r} cannot be changed",
                prompt=name,
            )

    def _require_no_content(self, name: str, version: str, key: str) -> None:
        if is_content(key):
            with _told_to_mlflow():
                self._refuse(
                    "change content",
                    f"tag {key!r} holds the content of version {version} of {name!r}, and versions are final; create a "
                    "new version with the change",
                    prompt=name,
                    version=str(version),
                    tag=key,
                )

    def _require_admin(self, what: str) -> None:
        with _told_to_mlflow():
            actor = self._actor()
            if not actor.is_admin:
                self._refuse(
                    what,
                    "webhooks are changed by admins only; send a platform admin's key as the header X-Assay-Key, or as "
                    "MLFLOW_TRACKING_TOKEN",
                )
            self._gate.note("mlflow.webhook-changed", {"what": what, "by": actor.name})

    def _refuse(self, what: str, sentence: str, **about: JsonValue) -> NoReturn:
        raise self._gate.refusal(what, self._actor().name, sentence, about)


@contextmanager
def _told_to_mlflow() -> Generator[None]:
    """Our errors as MLflow's: a refusal is 403, a key that opens nothing 401, trouble of the gate 503."""
    try:
        yield
    except Unauthenticated as error:
        raise MlflowException(error.message, error_code=UNAUTHENTICATED) from error
    except Unavailable as error:
        raise MlflowException(error.message, error_code=TEMPORARILY_UNAVAILABLE) from error
    except AssayError as error:
        raise MlflowException(error.message, error_code=PERMISSION_DENIED) from error
