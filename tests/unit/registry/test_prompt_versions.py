"""How a version is named, and how MLflow is asked for it."""

import httpx
import pytest

from registry.errors import InvalidInput
from registry.prompts.mlflow_rest import MlflowRest, MlflowUnavailable
from registry.prompts.versions import PromptReference, parse_reference


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("brief", PromptReference(name="brief")),
        ("brief@candidate", PromptReference(name="brief", alias="candidate")),
        ("brief/12", PromptReference(name="brief", version=12)),
    ],
)
def test_references_are_read(text: str, reference: PromptReference) -> None:
    """NAME, NAME@ALIAS and NAME/VERSION are the three ways to name a version."""
    assert parse_reference(text) == reference


@pytest.mark.parametrize("text", ["", "@x", "brief@", "brief/", "brief/x", "brief/-1", "brief/1/2", "b c", "brief/²"])
def test_other_references_are_refused(text: str) -> None:
    """What names no version is wrong usage."""
    with pytest.raises(InvalidInput):
        parse_reference(text)


async def test_credentials_may_stand_in_the_address() -> None:
    """User and password of MLFLOW_TRACKING_URI are sent as basic auth, and appear in no error."""
    seen: list[str] = []

    def refuse(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("authorization", ""))
        return httpx.Response(401, text="no")

    rest = MlflowRest("http://ada:pass@mlflow.test", client=httpx.AsyncClient(transport=httpx.MockTransport(refuse)))
    with pytest.raises(MlflowUnavailable) as caught:
        await rest.get("registered-models/get", {"name": "brief"})
    await rest.aclose()
    assert seen == ["Basic YWRhOnBhc3M="]
    assert "pass" not in caught.value.message
