"""The machine-readable description."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from registry.insights import Insight, Question
from serving.problems import PROBLEMS
from serving.routes.insights import INSIGHT_EXAMPLE, QUESTION_EXAMPLES


@pytest.fixture
async def description(api: Any) -> dict[str, Any]:
    """The document at /openapi.json."""
    return (await api.client.get("/openapi.json")).json()


async def test_every_reference_resolves(description: dict[str, Any]) -> None:
    """No `$ref` points at nothing."""

    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [found for member in node.values() for found in references(member)]
        return [found for member in node for found in references(member)] if isinstance(node, list) else []

    schemas = description["components"]["schemas"]
    assert {name.removeprefix("#/components/schemas/") for name in references(description)} <= set(schemas)


async def test_asking_is_described_with_examples_and_problems(description: dict[str, Any]) -> None:
    """The request body, its examples, and each problem status as problem+json."""
    asking = description["paths"]["/v1/insights"]["post"]
    body = asking["requestBody"]["content"]["application/json"]
    assert body["schema"] == {"$ref": "#/components/schemas/Question"}
    assert set(body["examples"]) == set(QUESTION_EXAMPLES)
    assert {"401", "402", "403", "404", "409", "413", "415", "422", "503", "504"} <= set(asking["responses"])
    for status, response in asking["responses"].items():
        if status != "200":
            assert list(response["content"]) == ["application/problem+json"]
    assert asking["security"] == [{"HTTPBearer": []}]
    assert {parameter["name"] for parameter in asking["parameters"]} == {"Assay-Tenant", "Idempotency-Key"}


async def test_the_problem_schema_lists_every_code(description: dict[str, Any]) -> None:
    """A client can generate its cases from the description."""
    assert description["components"]["schemas"]["Problem"]["properties"]["code"]["enum"] == list(PROBLEMS)


def test_the_examples_are_real() -> None:
    """Each example is accepted by the record that it illustrates."""
    TypeAdapter(Insight).validate_python(INSIGHT_EXAMPLE)
    for example in QUESTION_EXAMPLES.values():
        Question.model_validate(example["value"])
