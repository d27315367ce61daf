"""The ways to MLflow that a random sequence takes: through the front door, and past it."""

from collections.abc import Mapping
from typing import Any, Protocol

import httpx
from fakes.fake_mlflow import URL, FakeMlflow

from registry.prompts.mlflow_rest import KEY_HEADER, PREFIX
from registry_actions.contents import IS_PROMPT
from registry_actions.state import PRODUCTION


class Door(Protocol):
    """The way to MLflow, for people and for intruders."""

    url: str

    def client(self) -> httpx.AsyncClient | None:
        """For the product's own calls; None: its usual one."""
        ...

    def call(self, who: str | None, route: str, method: str, path: str, **body: Any) -> int:
        """The status of somebody's call."""
        ...

    def insert(self, name: str, tags: Mapping[str, str]) -> None:
        """Make a version behind MLflow's back."""
        ...

    def point(self, name: str, version: int | None) -> None:
        """Move or remove `production` behind MLflow's back."""
        ...

    def rewrite(self, name: str, version: int, key: str, value: str) -> None:
        """Change a tag behind MLflow's back."""
        ...


class FakeDoor:
    """The way to the fake."""

    url = URL

    def __init__(self, mlflow: FakeMlflow) -> None:
        self.mlflow = mlflow

    def client(self) -> httpx.AsyncClient:
        """A client whose requests end at the fake."""
        return self.mlflow.client()

    def call(self, who: str | None, route: str, method: str, path: str, **body: Any) -> int:
        """The status of somebody's call; the fake knows one route."""
        headers = {} if who is None else {KEY_HEADER: who}
        return self.mlflow.handle(httpx.Request(method, f"{URL}{PREFIX}{path}", json=body, headers=headers)).status_code

    def insert(self, name: str, tags: Mapping[str, str]) -> None:
        """Make a version that the gate does not see."""
        gate, self.mlflow.gate, outage, self.mlflow.outage = self.mlflow.gate, None, self.mlflow.outage, None
        every = [IS_PROMPT, *({"key": key, "value": text} for key, text in tags.items())]
        self.call(None, "api", "POST", "model-versions/create", name=name, tags=every)
        self.mlflow.gate, self.mlflow.outage = gate, outage

    def point(self, name: str, version: int | None) -> None:
        """Move or remove `production`."""
        self.mlflow.point(name, PRODUCTION, version)

    def rewrite(self, name: str, version: int, key: str, value: str) -> None:
        """Change a tag, if there is such a version."""
        if version <= len(self.mlflow.prompts[name].versions):
            self.mlflow.set_tag(name, version, key, value)
