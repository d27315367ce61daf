"""Random sequences against a running MLflow with the gate inside: over its routes, its own client, and its database."""

import sqlite3
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from time import time
from typing import Any

import httpx
import pytest
from fixtures_mlflow import GatedMlflow
from mlflow_calls import API, UI, MlflowCalls
from sqlalchemy import update

from registry.database import Database
from registry.prompts import mlflow_rest
from registry.schema import evidence, experiments, promotions
from registry_actions.comparison import Comparison, empty, told, write_policies
from registry_actions.contents import IS_PROMPT
from registry_actions.processes import Process
from registry_actions.sequences import APPROVERS, PEOPLE, Step, sequence
from registry_actions.state import PRODUCTION
from registry_actions.world import RegistryWorld

ROUTES = {"api": API, "ui": UI}
STATUS_OF = {"PERMISSION_DENIED": 403, "RESOURCE_DOES_NOT_EXIST": 404, "TEMPORARILY_UNAVAILABLE": 503}
PATIENCE_S = 60.0
"""For an answer of MLflow: what is shown here is no speed, and a busy machine answers late."""
CROWD, MOVES_EACH = 6, 4
"""People who move aliases and change the database at once, at the end of each sequence."""

_NEW_ALIAS = "INSERT INTO registered_model_aliases (workspace, name, alias, version) VALUES ('default', ?, ?, ?)"
_NEW_VERSION = (
    "INSERT INTO model_versions (workspace, name, version, creation_time, last_updated_time, current_stage, source, "
    "status) VALUES ('default', ?, ?, ?, ?, 'None', 'dummy-source', 'READY')"
)
_NEW_TAG = "INSERT INTO model_version_tags (workspace, name, version, key, value) VALUES ('default', ?, ?, ?, ?)"


class ServerDoor:
    """The way to a running server.

    Args:
        server: With the gate.
    """

    def __init__(self, server: GatedMlflow) -> None:
        self.url = server.url
        self.away = False
        self._database = server.home / "mlflow.db"
        self.keys: dict[str | None, str] = {who: server.key("engineer", who) for who in PEOPLE}

    def client(self) -> httpx.AsyncClient:
        """For the product's own calls; nobody answers while MLflow is away."""
        return httpx.AsyncClient(transport=_Line(self))

    def call(self, who: str | None, route: str, method: str, path: str, **body: Any) -> int:
        """The status of somebody's call."""
        if self.away:
            return 503
        if route == "client":
            return self._with_mlflows_client(who, **body)
        with MlflowCalls(self.url, ROUTES[route], X_Assay_Key=self.keys.get(who, "")) as calls:
            return calls.call(method, path, **body).status_code

    def point(self, name: str, version: int | None) -> None:
        """Move or remove `production`."""
        with self._opened() as database:
            database.execute("DELETE FROM registered_model_aliases WHERE name = ? AND alias = ?", (name, PRODUCTION))
            if version is not None:
                database.execute(_NEW_ALIAS, (name, PRODUCTION, version))

    def insert(self, name: str, tags: Mapping[str, str]) -> None:
        """Add a version that the gate does not see."""
        with self._opened() as database:
            [(newest,)] = database.execute("SELECT max(version) FROM model_versions WHERE name = ?", (name,)).fetchall()
            number, now_ms = (newest or 0) + 1, int(time() * 1000)
            row = name, number, now_ms, now_ms
            database.execute(_NEW_VERSION, row)
            every = {IS_PROMPT["key"]: IS_PROMPT["value"], **tags}
            database.executemany(_NEW_TAG, [(name, number, key, value) for key, value in every.items()])

    def rewrite(self, name: str, version: int, key: str, value: str) -> None:
        """Change a tag, if there is such a version."""
        with self._opened() as database:
            change = "UPDATE model_version_tags SET value = ? WHERE name = ? AND version = ? AND key = ?"
            database.execute(change, (value, name, version, key))

    def alias(self, name: str) -> int | None:
        """Where `production` points."""
        with self._opened() as database:
            chosen = "SELECT version FROM registered_model_aliases WHERE name = ? AND alias = ?"
            row = database.execute(chosen, (name, PRODUCTION)).fetchone()
        return None if row is None else int(row[0])

    def clear(self) -> None:
        """Have both prompts without a version."""
        with self._opened() as database:
            for prompt in APPROVERS:
                for table in ("registered_model_aliases", "model_version_tags", "model_versions"):
                    database.execute(f"DELETE FROM {table} WHERE name = ?", (prompt,))  # noqa: S608 - names of ours
        with MlflowCalls(self.url) as calls:
            for prompt in APPROVERS:
                calls.call("POST", "registered-models/create", name=prompt, tags=[IS_PROMPT])

    def _with_mlflows_client(self, who: str | None, *, name: str, alias: str, version: str) -> int:
        """Move an alias as scripts do; the key travels as MLflow's token."""
        from mlflow import MlflowClient  # noqa: PLC0415 - 4 s, for the tests that need it
        from mlflow.exceptions import MlflowException  # noqa: PLC0415 - as above

        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
            if who in self.keys:
                patch.setenv("MLFLOW_TRACKING_TOKEN", self.keys[who])
            try:
                MlflowClient(self.url, registry_uri=self.url).set_prompt_alias(name, alias, int(version))
            except MlflowException as error:
                return STATUS_OF[error.error_code]
        return 200

    @contextmanager
    def _opened(self) -> Generator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._database, timeout=10)) as database, database:
            yield database


class _Line(httpx.AsyncBaseTransport):
    """A connection a request, so that it may be used from any event loop."""

    def __init__(self, door: ServerDoor) -> None:
        self._door = door

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The server's answer."""
        if self._door.away:
            raise httpx.ConnectError("away")
        async with httpx.AsyncHTTPTransport(verify=False) as transport:  # no https here, and 20 ms less
            answer = await transport.handle_async_request(request)
            content = await answer.aread()
        return httpx.Response(answer.status_code, headers=answer.headers, content=content)


def compare_on_server(seed: int, server: GatedMlflow, home: Path) -> tuple[int, int]:
    """Run one sequence on the product with a running MLflow, then let many act at once; steps done, and checks made.

    Args:
        seed: Of the sequence.
        server: Its registry is emptied first.
        home: Empty: the disks of the processes.

    Raises:
        Disagreement: The product did something else than the rules want.
    """
    empty(server.database)
    policies = write_policies(server.home)
    door = ServerDoor(server)
    door.clear()

    ahead = 0.0

    def pass_time(seconds: float) -> None:
        nonlocal ahead
        ahead += seconds
        comparison.expected.registry.now = time() + ahead  # real time passes too
        _age(server.database, seconds)
        for process in world.serving.all:
            _age_memory(process, seconds)

    def weather(mlflow_away: bool, _: bool) -> None:  # noqa: FBT001 - told by position
        door.away = mlflow_away

    world = RegistryWorld(server.database, door, home, policies, clock=time, pass_time=pass_time, weather=weather)
    comparison = Comparison(world, door.alias)
    comparison.expected.registry.now = time()
    steps = [_bearable(step) for step in sequence(seed)]
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(mlflow_rest, "TOTAL_TIMEOUT_S", PATIENCE_S)
            comparison.run(steps)
            door.away = False
            with told([*steps, Step("crowd", {})]):
                _crowd(world, door, Random(seed))  # noqa: S311 - no secret
                comparison.require_records()
    finally:
        world.close()
    return len(steps), comparison.checks


def _bearable(step: Step) -> Step:
    """Without what cannot be done to a server of its own: sending its registry away, stepping into its decisions."""
    if step.name == "outage":
        return Step("outage", step.arguments | {"registry": False})
    return replace(step, during=(), before_move=()) if step.name == "set_alias" else step


def _age(database: Database, seconds: float) -> None:
    """Everything in the registry happened earlier, and ends earlier: for the server, time has passed."""
    shift = int(seconds * 1000)
    with database.write() as connection:
        connection.execute(update(evidence).values(created_ms=evidence.c.created_ms - shift))
        ends = {column: promotions.c[column] - shift for column in ("created_ms", "expires_ms", "revoked_ms")}
        connection.execute(update(promotions).values(**ends))
        connection.execute(update(experiments).values(created_ms=experiments.c.created_ms - shift))


def _age_memory(process: Process, seconds: float) -> None:
    """Also what a process knows by heart."""
    shift = int(seconds * 1000)
    prompts: Any = process.prompts
    arms: Any = process.arms

    def aged(served: Any) -> Any:
        return (
            served
            if served is None or served.expires_ms is None
            else replace(served, expires_ms=served.expires_ms - shift)
        )

    for slot, active in prompts._active.items():
        prompts._active[slot] = replace(active, serving=aged(active.serving), then=aged(active.then))
    for use_case, live in arms._live.items():
        began = replace(live.experiment, created_ms=live.experiment.created_ms - shift)
        arms._live[use_case] = replace(live, experiment=began, arms=tuple(map(aged, live.arms)))


def _crowd(world: RegistryWorld, door: ServerDoor, chance: Random) -> None:
    """Some move aliases, one revokes, one changes MLflow's database: all at once."""

    def mover(turns: Sequence[tuple[str, int, str | None]]) -> None:
        for prompt, version, who in turns:
            body = {"name": prompt, "alias": PRODUCTION, "version": str(version)}
            door.call(who, "ui", "POST", "registered-models/alias", **body)

    def others(turns: Sequence[Step]) -> None:
        for step in turns:
            world.apply(step)

    def place() -> dict[str, Any]:
        return {"prompt": chance.choice([*APPROVERS]), "version": chance.randint(1, 4)}

    jobs: list[Callable[[], None]] = []
    for _ in range(CROWD):
        turns = [(*place().values(), chance.choice([*PEOPLE, None])) for _ in range(MOVES_EACH)]
        jobs.append(lambda turns=turns: mover(turns))
    for name in ("revoke", "point"):
        steps = [Step(name, place()) for _ in range(MOVES_EACH)]
        jobs.append(lambda steps=steps: others(steps))
    with ThreadPoolExecutor(len(jobs)) as people:
        for job in [people.submit(job) for job in jobs]:
            job.result()
