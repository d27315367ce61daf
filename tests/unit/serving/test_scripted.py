"""The scripted provider: says what its script says, and nothing else."""

import json
from pathlib import Path

import pytest

from registry.errors import InvalidInput, JsonValue
from registry.messages import CompletionRequest, Material, Message
from serving.providers.base import Overloaded, ProviderError, RateLimited, SchemaFailure
from serving.providers.scripted import Row, Scripted, load_script

SCHEMA: dict[str, JsonValue] = {"type": "object", "properties": {"answer": {}, "claims": {}}}


def request(question: str, prompt: str = "Be brief.", schema: dict[str, JsonValue] | None = None) -> CompletionRequest:
    """A rendered request."""
    messages = (Message(role="system", content=prompt), Message(role="user", content=f"Question: {question}"))
    return CompletionRequest(
        messages=messages, max_output_tokens=50, output_schema=schema, material=Material(question=question)
    )


async def test_first_row_that_fits_answers() -> None:
    """Rows are tried in order; `match` ignores case, and a row without it answers the rest."""
    provider = Scripted([Row(match="LATE", answer="Three. [P1]"), Row(answer="No idea.")])
    assert (await provider.complete(request("How many were late?"))).text == "Three. [P1]"
    assert (await provider.complete(request("Why?"))).text == "No idea."


async def test_a_prompt_version_changes_the_answer() -> None:
    """A row may ask for words of the rendered prompt, so that another version answers otherwise."""
    provider = Scripted([Row(prompt="in German", answer="Drei."), Row(answer="Three.")])
    assert (await provider.complete(request("?", prompt="Answer in German."))).text == "Drei."
    assert (await provider.complete(request("?", prompt="Answer."))).text == "Three."


async def test_either_form_serves_either_prompt() -> None:
    """Marked text becomes the schema's JSON, and a JSON answer becomes marked text, as the prompt asks."""
    text, document = (
        Row(match="a", answer="Three. [P1]"),
        Row(match="b", answer={"answer": "Three.", "claims": [{"text": "Three.", "citations": ["P1"]}]}),
    )
    provider = Scripted([text, document])
    for question in ("a", "b"):
        as_json = json.loads((await provider.complete(request(question, schema=SCHEMA))).text)
        assert as_json == {"answer": "Three.", "claims": [{"text": "Three.", "citations": ["P1"]}]}
        assert "[P1]" in (await provider.complete(request(question))).text


@pytest.mark.parametrize(("error", "kind"), [("overloaded", Overloaded), ("rate-limited", RateLimited)])
async def test_rehearses_a_bad_day(error: str, kind: type[ProviderError]) -> None:
    """A row may fail instead of answering."""
    with pytest.raises(kind):
        await Scripted([Row.model_validate({"error": error})]).complete(request("?"))


async def test_no_row_is_a_failure() -> None:
    """A question that no row fits is not guessed."""
    with pytest.raises(SchemaFailure, match="no row"):
        await Scripted([Row(match="late", answer="x")]).complete(request("Why?"))


async def test_a_callable_is_a_script() -> None:
    """Tests may pass a function of the request."""
    assert (await Scripted(lambda asked: asked.messages[0].content).complete(request("?"))).text == "Be brief."


def test_load(tmp_path: Path) -> None:
    """A script is a YAML list of rows."""
    path = tmp_path / "script.yaml"
    path.write_text("- match: late\n  answer: Three.\n- error: timed-out\n")
    assert load_script(path) == (Row(match="late", answer="Three."), Row(error="timed-out"))


@pytest.mark.parametrize(
    "text", ["match: x", "- {match: x}", "- {answer: a, error: refused}", "- {aswer: a}", "- [", "3"]
)
def test_a_wrong_script_is_refused_at_start(tmp_path: Path, text: str) -> None:
    """What is not a list of rows, each with an answer or an error, is named with its file."""
    path = tmp_path / "script.yaml"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=r"script\.yaml"):
        load_script(path)
