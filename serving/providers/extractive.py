"""Answers with cited sentences of the passages themselves: deterministic, no network, no language model.

It proves the path from question to sealed answer and gives an honest answer on a machine without keys. It works on
the request's material, not on the rendered prompt: a prompt's wording changes nothing here, its parameters do
(`claims_max`, `score_min`, the output schema). How a sentence is scored stands in `serving.providers.relevance`.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence

from registry.claims import Draft, DraftClaim, takes_claims, write_answer
from registry.errors import JsonValue
from registry.messages import Completion, CompletionRequest, Delta, Material, StreamEvent, Usage
from serving.providers.base import SchemaFailure
from serving.providers.candidates import candidates
from serving.providers.relevance import Scored, best_first
from serving.providers.series import about_columns, about_metrics
from serving.providers.tokens import estimated_tokens

SCORE_MIN = 0.3
"""Used when a prompt version sets none above 0. Tuned on the development questions: see docs/providers.md."""
CLAIMS_MAX = 5
RELATIVE_MIN = 0.7
"""A further sentence has to reach this share of the best one's score."""
BESIDE_SERIES_MIN = 0.6
"""What a sentence has to score when a series already answers."""
NOVELTY_MIN = 0.4
"""Share of a further sentence's words that no earlier one has said."""
CLAIM_CHARS_MAX = 500
ABSTAINS = "The documents do not answer this question."


class Extractive:
    """Picks the sentences that answer the question; its wording is the documents' own."""

    name = "extractive"
    model = "extractive-1"

    async def complete(self, request: CompletionRequest) -> Completion:
        """Answer from `request.material`; abstains when nothing scores `score_min`.

        Usage is an estimate (UTF-8 bytes by four); the cost is nothing, since this is our own code.

        Raises:
            SchemaFailure: the output schema asks for something else than an answer with claims.
        """
        if request.output_schema is not None and not takes_claims(request.output_schema):
            raise SchemaFailure(
                "extractive writes `answer` and `claims` only; the output schema asks for other members"
            )
        claims = answer_claims(request.material, request.parameters)
        while len(claims) > 1 and estimated_tokens(_text(claims, request)) > request.max_output_tokens:
            claims = claims[:-1]
        text = _text(claims, request)
        prompt = (message.content for message in request.messages)
        usage = Usage(input=estimated_tokens(*prompt), output=estimated_tokens(text))
        return Completion(text=text, stop_reason="end", usage=usage, provider=self.name, model=self.model)

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent]:
        """As `complete`; the text comes in one piece."""
        completion = await self.complete(request)
        yield Delta(text=completion.text)
        yield completion

    async def ping(self) -> None:
        """It is always there."""

    async def aclose(self) -> None:
        """Nothing to give back."""


def answer_claims(material: Material | None, parameters: Mapping[str, JsonValue]) -> tuple[DraftClaim, ...]:
    """The claims that answer the material's question, the best first; none when nothing scores enough."""
    if material is None:
        return ()
    score_min = _number(parameters.get("score_min")) or SCORE_MIN
    claims_max = max(1, int(_number(parameters.get("claims_max")) or CLAIMS_MAX))
    everything = best_first(material.question, candidates(material.passages))
    said = about_metrics(material.question, material.metrics)
    if not said and everything and everything[0].score >= score_min:
        said = about_columns(material.question, everything)
    least = max(score_min, BESIDE_SERIES_MIN) if said else score_min
    ranked = [item for item in everything if item.score >= least]
    picked = _varied(ranked, claims_max - len(said)) if len(said) < claims_max else []
    quoted = tuple(
        DraftClaim(text=item.candidate.text[:CLAIM_CHARS_MAX], citations=(f"P{item.candidate.passage + 1}",))
        for item in picked
    )
    return (*said, *quoted)[:claims_max]


def _varied(ranked: Sequence[Scored], count: int) -> list[Scored]:
    """The best, then others near it that say something new."""
    picked: list[Scored] = []
    said: set[str] = set()
    for item in ranked:
        words = set(item.candidate.words)
        if len(picked) >= count or (picked and item.score < RELATIVE_MIN * picked[0].score):
            break
        if not picked or len(words - said) >= NOVELTY_MIN * len(words):
            picked.append(item)
            said |= words
    return picked


def _text(claims: Sequence[DraftClaim], request: CompletionRequest) -> str:
    answer = " ".join(claim.text for claim in claims) or ABSTAINS
    return write_answer(Draft(answer=answer, claims=tuple(claims), abstained=not claims), request.output_schema)


def _number(value: JsonValue) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
