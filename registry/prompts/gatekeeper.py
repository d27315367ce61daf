"""What the gate asks before MLflow's model registry changes something; knows nothing of MLflow.

* GateClosed (Unavailable) - the gate cannot decide, and so lets nothing through
* ChangeRefused (Refused)  - this change would go around the evidence; says what to do instead
"""

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pydantic import Field

from registry.audit.log import AuditLog, LogUnavailable
from registry.database import Database, DatabaseUnavailable, open_database
from registry.errors import InvalidInput, JsonValue, Refused, Unavailable
from registry.prompts.policy import Policy, load_policies
from registry.prompts.promoted import PROMPTS_SIGNAL
from registry.prompts.promotion import Promoter
from registry.prompts.promotion_records import is_promoted, promotions_of, told_serving_models, valid_promotions
from registry.prompts.versions import PromotedVersion
from registry.settings import RegistrySettings
from registry.signals import bump_signal

MOVE_TIMEOUT_S = 10.0
"""How long a move of an alias waits for another one in this process."""
VALUE_CHARS_MAX = 300
"""Longest text of a refused request that goes into the audit log."""

logger = logging.getLogger(__name__)

_Places = Mapping[tuple[str, str], Policy]


class GateClosed(Unavailable):
    """The gate cannot decide: a policy cannot be read, or another change takes too long."""


class ChangeRefused(Refused):
    """The change would go around the evidence."""


class GateSettings(RegistrySettings):
    """The door at which the MLflow server reads its environment."""

    policies: Path = Field(default=Path("policies"), validation_alias="ASSAY_POLICIES")


class Gatekeeper:
    """Decides for one MLflow server process. Safe to share between threads.

    Args:
        settings: home, registry and policies.
        clock: seconds since the epoch.

    Raises:
        GateClosed: there are no policies, or one cannot be used; the server must not start without its gate.
    """

    def __init__(self, settings: GateSettings, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock
        self._policies = _Policies(settings.policies.absolute())
        self._policies.places()
        self._moving = threading.Lock()
        self._opening = threading.Lock()
        self._database: Database | None = None
        self._log: tuple[int, AuditLog] | None = None
        """With the id of the process that opened it: a forked child must not write into its parent's."""

    def policy(self, name: str, alias: str) -> Policy | None:
        """The policy that protects this alias; None: anybody may move it.

        Raises:
            GateClosed: the policies cannot be read.
        """
        return self._policies.places().get((name, alias))

    def aliases(self, name: str) -> tuple[str, ...]:
        """The protected aliases of a prompt; empty: no policy names it. Raises as `policy`."""
        return tuple(alias for prompt, alias in self._policies.places() if prompt == name)

    def may_serve(self, name: str, alias: str | None = None) -> bool:
        """Whether a valid record lets some version of the prompt serve: under this alias, or anywhere.

        Raises:
            DatabaseUnavailable: the registry does not answer.
        """
        if alias is None:
            return is_promoted(self.database(), name, self._now_ms())
        return bool(valid_promotions(self.database(), name, alias, self._now_ms(), limit=1))

    def version_may_serve(self, name: str, version: int) -> bool:
        """Whether a valid record lets this version's content serve somewhere. Raises as `may_serve`."""
        return bool(promotions_of(self.database(), name, version, self._now_ms()))

    @contextmanager
    def moving(self) -> Generator[None]:
        """One move of a protected alias at a time, so that the newest record is where the alias points.

        Raises:
            GateClosed: another move takes too long.
        """
        if not self._moving.acquire(timeout=MOVE_TIMEOUT_S):
            raise GateClosed("another alias is being moved; try again")
        try:
            yield
        finally:
            self._moving.release()

    @contextmanager
    def promotion(self, policy: Policy, version: PromotedVersion, by: str) -> Generator[None]:
        """Let a version through and move the alias inside; a move that fails takes a new record back.

        Raises:
            PromotionRefused: the policy does not find what it asks for.
            PromptTampered: the version's content changed since it was first seen.
            InvalidInput: the version belongs to another use case.
            DatabaseUnavailable: the registry does not answer.
            LogUnavailable: the audit log cannot be written.
        """
        database = self.database()
        models = told_serving_models(database)
        if not models:
            raise ChangeRefused(
                "no serving process has told which models answer; start `assay serve` (or `assay up`) once"
            )
        promoter = Promoter(database, note=self.note, clock=self._clock)
        record = promoter.let_through(policy, version, models, by)
        try:
            yield
        except BaseException:  # raised on: whatever kept the alias from moving, the record must tell the truth
            promoter.take_back(record)
            raise
        self.announce()

    def announce(self) -> None:
        """Tell the serving processes that an alias moved; MLflow's webhook and their own look each second follow."""
        try:
            bump_signal(self.database(), PROMPTS_SIGNAL, self._clock)
        except DatabaseUnavailable as error:
            logger.warning("cannot announce a moved alias: %s", error)

    def refusal(self, what: str, by: str, sentence: str, about: Mapping[str, JsonValue]) -> ChangeRefused:
        """Note a refused change and give the error to raise, which stands also when the log cannot be written."""
        shown = {name: value[:VALUE_CHARS_MAX] if isinstance(value, str) else value for name, value in about.items()}
        try:
            self.note("prompt.change-refused", {**shown, "what": what, "by": by})
        except LogUnavailable as error:
            logger.warning("a refused change is not in the audit log: %s", error)
        return ChangeRefused(sentence)

    def note(self, kind: str, body: Mapping[str, JsonValue]) -> None:
        """Write one durable entry to this process's audit log.

        Raises:
            LogUnavailable: it cannot be written.
        """
        with self._opening:
            if self._log is None or self._log[0] != os.getpid():
                log = AuditLog.open(self._settings.home / "audit", "mlflow", self._clock)
                atexit.register(log.close)
                self._log = os.getpid(), log
            log = self._log[1]
        log.note_now(kind, body)

    def database(self) -> Database:
        """The registry, opened when it is first needed: MLflow starts beside the step that makes it.

        Raises:
            DatabaseUnavailable: there is none yet, or it does not answer.
        """
        with self._opening:
            if self._database is None:
                self._database = open_database(self._settings.database_url)
            return self._database

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)


class _Policies:
    """The policy files of a directory, read anew when one changes."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._read: tuple[object, _Places] | None = None

    def places(self) -> _Places:
        """Policy of each protected (prompt, alias)."""
        try:
            state = self._state()
            if self._read is None or self._read[0] != state:
                self._read = state, _by_place(load_policies(self._directory))
        except (InvalidInput, OSError) as error:
            raise GateClosed(f"the gate cannot read its policies, and lets nothing through: {error}") from error
        places = self._read[1]
        if not places:
            raise GateClosed(f"there is no policy in {str(self._directory)!r}; set ASSAY_POLICIES to their directory")
        return places

    def _state(self) -> object:
        files = sorted(self._directory.glob("*.yaml"))
        return [
            (file.name, about.st_mtime_ns, about.st_size, about.st_ino) for file in files for about in [file.stat()]
        ]


def _by_place(policies: Mapping[str, Policy]) -> _Places:
    places: dict[tuple[str, str], Policy] = {}
    for policy in policies.values():
        other = places.setdefault((policy.prompt, policy.alias), policy)
        if other is not policy:
            raise InvalidInput(
                f"use cases {other.use_case!r} and {policy.use_case!r} both protect {policy.prompt}@{policy.alias}; "
                "give one of them another alias"
            )
    return places
