"""MLflow's registry REST API in memory: the calls that Assay makes, with the real server's answers and faults.

Without a gate unless a test puts one before its changes (`fake_gate.py`).

`tests/contract/test_prompt_registry.py` keeps the same promises against this fake and against a real server.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

URL = "http://mlflow.test"
Json = dict[str, Any]
_DELETED = "Deleted_Internal"


class FakeMlflowError(Exception):
    """The server's answer to a request it does not take."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error_code": code, "message": message}


@dataclass
class _Prompt:
    description: str
    tags: list[Json]
    versions: list[Json] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)


class FakeMlflow:
    """State of the fake server; `calls` are the requests it saw, `outage` is what it does instead when set."""

    def __init__(self) -> None:
        self.prompts: dict[str, _Prompt] = {}
        self.hooks: list[Json] = []
        self.secrets: list[str] = []
        """Secrets that webhooks were created or changed with; the server never shows them."""
        self.calls: list[tuple[str, str]] = []
        self.outage: Callable[[httpx.Request], httpx.Response] | None = None
        self.gate: Callable[[httpx.Request, str, Json, Callable[[], Json]], Json] | None = None
        """Given request, path, what was sent and what does it: refuses, or does it."""

    def client(self) -> httpx.AsyncClient:
        """A client whose requests end here."""
        return httpx.AsyncClient(transport=httpx.MockTransport(self.handle))

    def set_tag(self, name: str, version: int, key: str, value: str) -> None:
        """Rewrite a tag of a version, as anyone can over MLflow's API."""
        tags = self.prompts[name].versions[version - 1]["tags"]
        tags[:] = [tag for tag in tags if tag["key"] != key] + [{"key": key, "value": value}]

    def point(self, name: str, alias: str, version: int | None) -> None:
        """Move or remove an alias, as someone does who reaches the server's database."""
        self.prompts[name].aliases.pop(alias, None)
        if version is not None:
            self.prompts[name].aliases[alias] = str(version)

    def handle(self, request: httpx.Request) -> httpx.Response:
        """The answer to one request."""
        path = request.url.path.removeprefix("/api/2.0/mlflow/")
        self.calls.append((request.method, path))
        if self.outage is not None:
            return self.outage(request)
        sent: Json = dict(request.url.params) if request.method == "GET" else json.loads(request.content)
        try:
            return httpx.Response(200, json=self._gated(request, path, sent))
        except FakeMlflowError as failed:
            return httpx.Response(failed.status, json=failed.body)

    def _gated(self, request: httpx.Request, path: str, sent: Json) -> Json:
        if self.gate is None or request.method == "GET":
            return self._answer(request.method, path, sent)
        return self.gate(request, path, sent, lambda: self._answer(request.method, path, sent))

    def _answer(self, method: str, path: str, sent: Json) -> Json:
        if path.startswith("webhooks"):
            return self._webhooks(method, path, sent)
        routes: dict[tuple[str, str], Callable[[Json], Json]] = {
            ("POST", "registered-models/create"): self._create,
            ("GET", "registered-models/get"): lambda s: {"registered_model": self._model(s["name"])},
            ("GET", "registered-models/search"): self._search_models,
            ("POST", "model-versions/create"): self._create_version,
            ("GET", "model-versions/get"): lambda s: {"model_version": self.version(s["name"], s["version"])},
            ("GET", "model-versions/search"): self._search_versions,
            ("POST", "registered-models/alias"): self._set_alias,
            ("GET", "registered-models/alias"): self._alias,
            ("DELETE", "registered-models/alias"): self._delete_alias,
            ("PATCH", "model-versions/update"): self._describe_version,
            ("POST", "model-versions/set-tag"): self._set_tag,
            ("DELETE", "model-versions/delete-tag"): self._delete_tag,
            ("DELETE", "model-versions/delete"): self._delete_version,
        }
        return routes[method, path](sent)

    def _prompt(self, name: str) -> _Prompt:
        if name not in self.prompts:
            raise FakeMlflowError(404, "RESOURCE_DOES_NOT_EXIST", f"Registered Model with name={name} not found")
        return self.prompts[name]

    def _create(self, sent: Json) -> Json:
        self.prompts[sent["name"]] = _Prompt(sent.get("description", ""), sent.get("tags", []))
        return {"registered_model": {"name": sent["name"]}}

    def _model(self, name: str) -> Json:
        prompt = self._prompt(name)
        return {
            "name": name,
            "description": prompt.description,
            "last_updated_timestamp": 1_700_000_000_000,
            "latest_versions": prompt.versions[-1:],
            "tags": prompt.tags,
            "aliases": [{"alias": alias, "version": version} for alias, version in prompt.aliases.items()],
        }

    def _search_models(self, sent: Json) -> Json:
        size, start = int(sent["max_results"]), int(sent.get("page_token", 0))
        names = [name for name, prompt in self.prompts.items() if _is_prompt(prompt.tags)]
        page: Json = {"registered_models": [self._model(name) for name in names[start : start + size]]}
        return page | ({"next_page_token": str(start + size)} if start + size < len(names) else {})

    def _create_version(self, sent: Json) -> Json:
        prompt = self._prompt(sent["name"])
        version = {
            "name": sent["name"],
            "version": str(len(prompt.versions) + 1),
            "description": sent.get("description", ""),
            "tags": sent["tags"],
        }
        prompt.versions.append(version)
        return {"model_version": version}

    def version(self, name: str, number: str) -> Json:
        """A version as it is kept."""
        versions = self.prompts[name].versions if name in self.prompts else []
        if not 0 < int(number) <= len(versions) or versions[int(number) - 1].get("current_stage") == _DELETED:
            message = f"Model Version (name={name}, version={number}) not found"
            raise FakeMlflowError(404, "RESOURCE_DOES_NOT_EXIST", message)
        return versions[int(number) - 1]

    def _search_versions(self, sent: Json) -> Json:
        name = sent["filter"].split("'")[1]
        versions = self.prompts[name].versions if name in self.prompts else []
        kept = [version for version in reversed(versions) if version.get("current_stage") != _DELETED]
        newest = [version for version in kept if _is_prompt(version["tags"])]
        return {"model_versions": newest[: int(sent["max_results"])]} if newest else {}

    def _set_alias(self, sent: Json) -> Json:
        self.version(sent["name"], sent["version"])
        self._prompt(sent["name"]).aliases[sent["alias"]] = sent["version"]
        return {}

    def _alias(self, sent: Json) -> Json:
        aliases = self._prompt(sent["name"]).aliases
        if sent["alias"] not in aliases:
            raise FakeMlflowError(400, "INVALID_PARAMETER_VALUE", f"Registered model alias {sent['alias']} not found.")
        return {"model_version": self.version(sent["name"], aliases[sent["alias"]])}

    def _delete_alias(self, sent: Json) -> Json:
        self._prompt(sent["name"]).aliases.pop(sent["alias"], None)
        return {}

    def _set_tag(self, sent: Json) -> Json:
        self.set_tag(sent["name"], int(sent["version"]), sent["key"], sent["value"])
        return {}

    def _delete_version(self, sent: Json) -> Json:
        self.version(sent["name"], sent["version"])["current_stage"] = _DELETED
        aliases = self._prompt(sent["name"]).aliases
        for alias in [alias for alias, version in aliases.items() if version == str(sent["version"])]:
            del aliases[alias]
        return {}

    def _describe_version(self, sent: Json) -> Json:
        version = self.version(sent["name"], sent["version"])
        version["description"] = sent["description"]
        return {"model_version": version}

    def _delete_tag(self, sent: Json) -> Json:
        tags = self.version(sent["name"], sent["version"])["tags"]
        tags[:] = [tag for tag in tags if tag["key"] != sent["key"]]
        return {}

    def _webhooks(self, method: str, path: str, sent: Json) -> Json:
        if method == "GET":
            return {"webhooks": self.hooks} if self.hooks else {}
        if secret := sent.pop("secret", None):
            self.secrets.append(secret)
        if method == "POST":
            self.hooks.append({"webhook_id": f"hook-{len(self.secrets)}", **sent})
            return {"webhook": self.hooks[-1]}
        hook = next(hook for hook in self.hooks if path.endswith(hook["webhook_id"]))
        if method == "DELETE":
            self.hooks.remove(hook)
            return {}
        hook.update(sent)
        return {"webhook": hook}


def _is_prompt(tags: list[Json]) -> bool:
    return {"key": "mlflow.prompt.is_prompt", "value": "true"} in tags
