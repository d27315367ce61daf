"""Answers from a script: the product's own double of a language model, for rehearsals, demonstrations and tests.

A script is a list of rows, or a callable. A row answers when its `match` occurs in the question and its `prompt`
occurs in the rendered messages (both ignore case; both optional), so that another wording of a prompt version can
bring another answer. The first row that fits wins; none is a failure, not a guess.

```yaml
- match: late deliveries
  prompt: answer in one sentence
  answer: "Three deliveries were late. [P1]"
- match: outage
  error: overloaded          # rehearse a bad day: overloaded, rate-limited, timed-out, unreachable, refused
- answer: {answer: "The documents do not say.", claims: []}
```
"""

import json
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, JsonValue, TypeAdapter, ValidationError

from registry.claims import read_answer, takes_claims, write_answer
from registry.errors import InvalidInput
from registry.messages import Completion, CompletionRequest, Delta, StreamEvent, Usage
from serving.providers.base import (
    ContentRefused,
    Overloaded,
    ProviderError,
    RateLimited,
    SchemaFailure,
    TimedOut,
    Unreachable,
)
from serving.providers.tokens import estimated_tokens

SCRIPT_BYTES_MAX = 1_000_000
Fault = Literal["overloaded", "rate-limited", "timed-out", "unreachable", "refused"]
_FAULTS: dict[Fault, type[ProviderError]] = {
    "overloaded": Overloaded,
    "rate-limited": RateLimited,
    "timed-out": TimedOut,
    "unreachable": Unreachable,
    "refused": ContentRefused,
}


class Row(BaseModel):
    """One line of a script: when it fits, and what it says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    match: str = ""
    """Words that occur in the question; empty fits every question."""
    prompt: str = ""
    """Words that occur in the rendered messages; empty fits every prompt."""
    answer: str | dict[str, JsonValue] | None = None
    """Text, with `[P1]` marks, or the JSON document of the output schema."""
    error: Fault | None = None
    """Fail instead of answering."""

    def fits(self, question: str, prompt: str) -> bool:
        """Whether the row answers this question under this prompt."""
        return self.match.casefold() in question.casefold() and self.prompt.casefold() in prompt.casefold()


Script = Sequence[Row] | Callable[[CompletionRequest], str]


class Scripted:
    """A provider that says what a script says; costs nothing and calls nobody."""

    name = "scripted"
    model = "scripted-1"

    def __init__(self, script: Script) -> None:
        self._script = script

    async def complete(self, request: CompletionRequest) -> Completion:
        """Answer from the script.

        Raises:
            ProviderError: the row says so, or no row fits.
        """
        text = self._script(request) if callable(self._script) else _answer(self._script, request)
        prompt = (message.content for message in request.messages)
        return Completion(
            text=text,
            stop_reason="end",
            usage=Usage(input=estimated_tokens(*prompt), output=estimated_tokens(text)),
            provider=self.name,
            model=self.model,
        )

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent]:
        """As `complete`; the text comes in one piece."""
        completion = await self.complete(request)
        if completion.text:
            yield Delta(text=completion.text)
        yield completion

    async def ping(self) -> None:
        """It is always there."""

    async def aclose(self) -> None:
        """Nothing to give back."""


def load_script(path: Path) -> tuple[Row, ...]:
    """Read a YAML list of rows.

    Raises:
        InvalidInput: the file cannot be read, is larger than 1 MB, or a row is not a row.
    """
    try:
        text = path.read_bytes()[: SCRIPT_BYTES_MAX + 1]
        if len(text) > SCRIPT_BYTES_MAX:
            raise InvalidInput(f"the script {str(path)!r} is larger than {SCRIPT_BYTES_MAX} bytes")
        rows = TypeAdapter(tuple[Row, ...]).validate_python(yaml.safe_load(text))
    except OSError as error:
        raise InvalidInput(f"ASSAY_SCRIPT names {str(path)!r}, which cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, ValidationError) as error:
        message = f"the script {str(path)!r} has to be a YAML list of {{match, prompt, answer, error}}: {error}"
        raise InvalidInput(message) from error
    if any((row.answer is None) == (row.error is None) for row in rows):
        raise InvalidInput(f"each row of the script {str(path)!r} needs either an answer or an error")
    return rows


def _answer(rows: Sequence[Row], request: CompletionRequest) -> str:
    prompt = "\n".join(message.content for message in request.messages)
    question = request.material.question if request.material else prompt
    row = next((row for row in rows if row.fits(question, prompt)), None)
    if row is None:
        raise SchemaFailure("no row of the script fits the question; add one without `match` to answer the rest")
    if row.error is not None:
        raise _FAULTS[row.error](f"the script says {row.error!r}")
    if isinstance(row.answer, str):
        schema = request.output_schema
        return write_answer(read_answer(row.answer), schema) if takes_claims(schema) else row.answer
    document = json.dumps(row.answer, ensure_ascii=False)
    return document if request.output_schema else write_answer(read_answer(document), None)
