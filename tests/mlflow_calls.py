"""MLflow's REST API as its UI and scripts call it, with whatever proves who is calling."""

from typing import Any, Self

import httpx

API, UI = "/api/2.0/mlflow/", "/ajax-api/2.0/mlflow/"
"""Prefixes: of scripts and MLflow's client; of its UI."""
TEXT = "Answer {{question}} from {{passages}} in one sentence."
"""What the linter lets pass."""
_IS_PROMPT = {"key": "mlflow.prompt.is_prompt", "value": "true"}


class MlflowCalls:
    """Calls to one server; close it.

    Args:
        url: base URL of the server.
        prefix: of every path.
        headers: of every request.
        user: name and password for basic auth.
    """

    def __init__(self, url: str, prefix: str = API, *, user: tuple[str, str] | None = None, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._client = httpx.Client(
            base_url=f"{url}{prefix}",
            auth=user,
            headers=named,
            trust_env=False,
            timeout=30,
            verify=False,  # noqa: S501 - no https on this machine, and without authorities to read 40 ms less
        )

    def call(self, method: str, path: str, /, **body: Any) -> httpx.Response:
        """One call; its body is JSON, or the query of a GET."""
        if method == "GET":
            return self._client.get(path, params=body)
        return self._client.request(method, path, json=body)

    def create(self, name: str, text: str = TEXT, **tags: str) -> int:
        """A version as MLflow's UI creates it; makes the prompt when there is none."""
        self.call("POST", "registered-models/create", name=name, tags=[_IS_PROMPT])
        said = {"mlflow.prompt.text": text, "_mlflow_prompt_type": "text", **tags}
        every = [_IS_PROMPT, *({"key": key, "value": value} for key, value in said.items())]
        answer = self.call("POST", "model-versions/create", name=name, source="dummy-source", tags=every)
        return int(answer.raise_for_status().json()["model_version"]["version"])

    def move(self, name: str, version: int, alias: str = "production") -> httpx.Response:
        """Point an alias at a version."""
        return self.call("POST", "registered-models/alias", name=name, alias=alias, version=str(version))

    def alias(self, name: str, alias: str = "production") -> int | None:
        """Where an alias points."""
        answer = self.call("GET", "registered-models/alias", name=name, alias=alias)
        return int(answer.json()["model_version"]["version"]) if answer.is_success else None

    def tags(self, name: str, version: int) -> dict[str, str]:
        """The tags of a version."""
        answer = self.call("GET", "model-versions/get", name=name, version=str(version)).raise_for_status()
        return {tag["key"]: tag.get("value", "") for tag in answer.json()["model_version"]["tags"]}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
