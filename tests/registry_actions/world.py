"""The steps of a random sequence, done with the product: people at MLflow, the command line, serving processes."""

import json
from collections.abc import Callable, Mapping
from contextlib import aclosing
from itertools import count
from pathlib import Path
from typing import Any

from registry.database import Database
from registry.errors import AssayError, JsonValue, NotFound, Unavailable
from registry.prompts import revocation
from registry.prompts.alias_move import promote, version_before
from registry.prompts.approvals import APPROVAL, WAIVER, Word, record_word, require_not_author
from registry.prompts.mlflow_rest import MlflowRest
from registry.prompts.policy import Policy, load_policy
from registry.prompts.promoted import PromotedPrompts
from registry.prompts.promotion import Promoter
from registry.prompts.promotion_records import (
    ServingModel,
    tell_serving_models,
    told_serving_models,
)
from registry.prompts.publishing import PromptPublisher
from registry.prompts.stored import TEXT_TAG, to_tags
from registry.prompts.versions import PromptSource
from registry.prompts.webhooks import remember_delivery, sign, verify
from registry_actions.contents import IS_PROMPT, TEMPLATES, policy, text
from registry_actions.door import Door
from registry_actions.experimenters import Experimenters
from registry_actions.measured import Measured
from registry_actions.model import Outcome
from registry_actions.processes import ServingProcesses
from registry_actions.sequences import Step
from registry_actions.state import PRODUCTION

SECRET = "shared-with-mlflow"


class RegistryWorld:
    """The product on one registry and one MLflow.

    Args:
        database: The registry.
        door: The way to MLflow.
        home: An empty folder.
        policies: The folder in which the gate looks for policies.
        clock: Seconds since the epoch.
        pass_time: Lets time pass.
        weather: Sends MLflow and the registry away, or back.
    """

    def __init__(
        self,
        database: Database,
        door: Door,
        home: Path,
        policies: Path,
        *,
        clock: Callable[[], float],
        pass_time: Callable[[float], None],
        weather: Callable[[bool, bool], None] | None = None,
    ) -> None:
        self.database = database
        self.clock = clock
        self._door = door
        self._pass_time = pass_time
        self._weather = weather
        self._during: tuple[Step, ...] = ()
        self._before_move: tuple[Step, ...] = ()
        self._numbers = count()
        self._home = home
        self._policies = policies
        self.serving = ServingProcesses(database, door.url, door.client, home, clock)
        self.experimenters = Experimenters(
            database, policies, mlflow=self._rest, run=self.serving.run, note=self.note, clock=clock
        )

    def apply(self, step: Step) -> Outcome:
        """Do the step; what it came to."""
        outer = self._during, self._before_move
        self._during, self._before_move = step.during, step.before_move
        self.serving.experiments |= step.name == "start_experiment"
        try:
            doer = next(each for each in (self, self.serving, self.experimenters) if hasattr(each, step.name))
            return getattr(doer, step.name)(**step.arguments) or "done"
        except NotFound:
            return "missing"
        except Unavailable:
            return "away"
        except AssayError:
            return "refused"
        finally:
            self._during, self._before_move = outer

    def note(self, kind: str, _: Mapping[str, JsonValue]) -> None:
        """The audit log; with the note of a promotion comes the moment between a decision and its record."""
        if kind == "prompt.promotion":
            steps, self._during = self._during, ()
            self._race(steps)

    def before_move(self) -> None:
        """The moment between a record and the moving of the alias."""
        self._during = ()
        steps, self._before_move = self._before_move, ()
        self._race(steps)

    def close(self) -> None:
        """Close the loop of the processes."""
        self.serving.close()

    # What people and machines do.

    def push(self, prompt: str, content: int, who: str | None) -> Outcome:
        """Create a version as MLflow's UI does."""
        tags = [
            IS_PROMPT,
            *({"key": key, "value": value} for key, value in to_tags(TEMPLATES[prompt, content]).items()),
        ]
        return _outcome(
            self._door.call(who, "api", "POST", "model-versions/create", name=prompt, source="dummy-source", tags=tags)
        )

    def set_alias(self, prompt: str, version: int, who: str | None, route: str) -> Outcome:
        """Move the protected alias in MLflow."""
        body = {"name": prompt, "alias": PRODUCTION, "version": str(version)}
        return _outcome(self._door.call(who, route, "POST", "registered-models/alias", **body))

    def promote(self, prompt: str, version: int, who: str | None) -> None:
        """As the command line does."""
        self.serving.run(self._promote(prompt, version, who))

    def rollback(self, prompt: str, who: str | None) -> None:
        """As the command line does."""
        self.serving.run(self._rollback(prompt, who))

    def ask(self, prompt: str, **asked: Any) -> None:
        """Change the policy's file."""
        wanted = policy(prompt, **asked)
        part = self._policies / f"{prompt}.part"  # another file: two changes within a tick of its clock are two
        part.write_text(json.dumps(wanted.model_dump(mode="json", exclude_defaults=True)))
        part.replace(self._policies / f"{prompt}.yaml")

    def evaluate(self, prompt: str, version: int, model: str, *, against: str, resumed: bool, **found: Any) -> None:
        """Keep what an evaluation found."""
        about = Measured(self._fetch(prompt, version), model, self.database, self.clock)
        about.keep(f"evaluation-{next(self._numbers)}", against=against, resumed=resumed, **found)

    def approve(self, prompt: str, version: int, who: str, *, agrees: bool) -> None:
        """As the API does with a person's key."""
        found = self._fetch(prompt, version)
        word = Word(kind=APPROVAL, by=who, key=f"key-of-{who}", agrees=agrees, reason="I read it")
        if agrees:
            require_not_author(self.database, found, word)
        record_word(self.database, found, word, clock=self.clock)

    def sign(self, prompt: str, version: int, who: str, hours: float) -> None:
        """As the API does with a person's key."""
        word = Word(kind=WAIVER, by=who, key=f"key-of-{who}", agrees=True, reason="an outage", hours=hours)
        record_word(self.database, self._fetch(prompt, version), word, clock=self.clock)

    def revoke(self, prompt: str, version: int) -> None:
        """As the command line does."""
        revocation.revoke(self.database, prompt, version, reason="wrong", by="ada", note=_unnoted, clock=self.clock)

    def delete_version(self, prompt: str, version: int) -> Outcome:
        """In MLflow."""
        return _outcome(
            self._door.call(None, "api", "DELETE", "model-versions/delete", name=prompt, version=str(version))
        )

    def delete_alias(self, prompt: str, alias: str) -> Outcome:
        """In MLflow."""
        return _outcome(self._door.call(None, "ui", "DELETE", "registered-models/alias", name=prompt, alias=alias))

    def edit(self, prompt: str, version: int, content: int) -> Outcome:
        """Change the wording through MLflow's front door."""
        body = {"name": prompt, "version": str(version), "key": TEXT_TAG, "value": text(prompt, content)}
        return _outcome(self._door.call(None, "ui", "POST", "model-versions/set-tag", **body))

    def set_free_alias(self, prompt: str, version: int) -> Outcome:
        """An alias that no policy names."""
        body = {"name": prompt, "alias": "test", "version": str(version)}
        return _outcome(self._door.call(None, "ui", "POST", "registered-models/alias", **body))

    def tell_chain(self, models: tuple[str, ...]) -> None:
        """As a serving process does at its start."""
        tell_serving_models(self.database, [ServingModel(provider="test", model=model) for model in models], self.clock)

    # What happens to them.

    def insert(self, prompt: str, content: int) -> None:
        """In MLflow's database."""
        self._door.insert(prompt, to_tags(TEMPLATES[prompt, content]))

    def point(self, prompt: str, version: int | None) -> None:
        """In MLflow's database."""
        self._door.point(prompt, version)

    def rewrite(self, prompt: str, version: int, content: int) -> None:
        """In MLflow's database."""
        self._door.rewrite(prompt, version, TEXT_TAG, text(prompt, content))

    def wait(self, seconds: float) -> None:
        """Time passes."""
        self._pass_time(seconds)

    def outage(self, *, mlflow: bool, registry: bool) -> None:
        """Somebody is away, or back."""
        if self._weather is not None:
            self._weather(mlflow, registry)

    def knock(self, kind: str) -> None:
        """A push at the door for webhooks."""
        about = {"name": "plain", "alias": PRODUCTION, "version": "1"}
        body = json.dumps({"entity": "prompt_alias", "action": "created", "data": about}).encode()
        identity, at = f"delivery-{next(self._numbers)}", str(int(self.clock()) - (3_600 if kind == "old" else 0))
        signature = sign(identity, at, body, "guessed" if kind == "forged" else SECRET)
        headers = {"X-MLflow-Delivery-Id": identity, "X-MLflow-Timestamp": at, "X-MLflow-Signature": signature}
        for _ in range(2 if kind == "replayed" else 1):
            remember_delivery(self.database, verify(headers, body, SECRET, self.clock()), self.clock)

    async def _promote(self, prompt: str, version: int, who: str | None) -> None:
        async with aclosing(self._rest()) as rest:
            found = await PromptSource(rest).by_version(prompt, version)
            promoter = Promoter(self.database, note=self.note, clock=self.clock)
            aliases = _Held(PromptPublisher(rest), self.before_move)
            models = told_serving_models(self.database)
            await promote(promoter, aliases, self._policy(prompt), found, models, who or "ada")

    async def _rollback(self, prompt: str, who: str | None) -> None:
        async with aclosing(self._rest()) as rest:
            now_ms = int(self.clock() * 1000)
            version = await version_before(PromptSource(rest), self.database, self._policy(prompt), now_ms)
        await self._promote(prompt, version.version, who)

    def _rest(self) -> MlflowRest:
        return MlflowRest(self._door.url, client=self._door.client())

    def _policy(self, prompt: str) -> Policy:
        return load_policy(self._policies, prompt)

    def _fetch(self, prompt: str, version: int) -> Any:
        store = PromotedPrompts(self._door.url, self._home, self.database, client=self._door.client(), clock=self.clock)

        async def fetch() -> Any:
            try:
                return await store.fetch_version(prompt, version)
            finally:
                await store.aclose()

        return self.serving.run(fetch())

    def _race(self, steps: tuple[Step, ...]) -> None:
        for step in steps:
            self.apply(step)


class _Held:
    """Aliases in MLflow, with a moment before they move."""

    def __init__(self, publisher: PromptPublisher, before: Callable[[], None]) -> None:
        self._publisher = publisher
        self._before = before

    async def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias at a version."""
        self._before()
        await self._publisher.set_alias(name, alias, version)

    async def alias_version(self, name: str, alias: str) -> int | None:
        """The version that an alias points at."""
        return await self._publisher.alias_version(name, alias)


def _outcome(status: int) -> Outcome:
    if status < 300:
        return "done"
    by_status: dict[int, Outcome] = {403: "refused", 404: "missing", 503: "away"}
    return by_status[status]


def _unnoted(_: str, __: Mapping[str, JsonValue]) -> None:
    """Nothing happens in the middle of this."""
