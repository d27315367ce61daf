"""How a version is named, and how MLflow is asked for it."""

import httpx
import pytest

from registry.errors import InvalidInput
from registry.prompts.mlflow_rest import MlflowRefused, MlflowRest, MlflowUnavailable
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


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("https://mlflow.test", "assay_1_x"),
        ("http://127.0.0.1:5000", "assay_1_x"),
        ("http://[::1]:5000", "assay_1_x"),
        ("http://ada:pass@localhost:5000", "assay_1_x"),
        ("http://mlflow.test", None),
        ("http://127.0.0.1.mlflow.test", None),
    ],
)
async def test_the_key_travels_encrypted_or_stays_on_this_machine(url: str, sent: str | None) -> None:
    """Who is asking is told to the gate, and to nobody who listens on the way."""
    seen: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("x-assay-key"))
        return httpx.Response(200, json={})

    rest = MlflowRest(url, key="assay_1_x", client=httpx.AsyncClient(transport=httpx.MockTransport(answer)))
    await rest.get("webhooks", {})
    await rest.aclose()
    assert seen == [sent]


@pytest.mark.parametrize(("status", "code"), [(403, "PERMISSION_DENIED"), (401, "UNAUTHENTICATED")])
async def test_a_refusal_of_the_gate_is_told_as_one(status: int, code: str) -> None:
    """Its sentence reaches the caller whole: nothing is down, and something is missing."""
    sentence = "misses 9: " + "; ".join(f"no evaluation with provider-{number} for this content" for number in range(9))
    answer = httpx.Response(status, json={"error_code": code, "message": sentence})
    transport = httpx.MockTransport(lambda _request: answer)
    rest = MlflowRest("http://mlflow.test", client=httpx.AsyncClient(transport=transport))
    with pytest.raises(MlflowRefused) as refused:
        await rest.send("POST", "registered-models/alias", {})
    await rest.aclose()
    assert refused.value.message == sentence
