"""One vendor's answer while it comes in, and what it is when it is whole."""

import logging
from dataclasses import dataclass, field, replace
from typing import Any, cast

from registry.messages import Completion, CompletionRequest, Progress, StopReason, Usage
from serving.providers.base import Garbled, SchemaFailure
from serving.providers.structured import DocumentPieces, Misfit, Schema
from serving.providers.tokens import estimated_tokens
from serving.providers.transport import name_in

logger = logging.getLogger(__name__)

TEXT_CHARS_MAX = 4 * 1024 * 1024
TOKENS_MAX = 10**9
"""No vendor counts more for one call, and a larger number would break sums further on."""


@dataclass(slots=True, kw_only=True)
class Reply:
    """What has been read of one answer so far; a dialect fills it, whole or event by event."""

    provider: str
    asked_model: str
    request: CompletionRequest
    schema: Schema | None
    """Of the request, compiled."""
    stop: StopReason | None = None
    """Why the model stopped; None until it did."""
    counts: dict[str, Any] = field(default_factory=dict[str, Any])
    """The vendor's own counts, where they come in parts."""
    ended: bool = False
    """Nothing more will come."""
    last_number: int = -1
    """Of the last numbered event; one that comes again is read over."""
    _pieces: list[str] = field(default_factory=list[str])
    _chars: int = 0
    _read: int = 0
    """How many of the pieces were looked at for deltas."""
    _shown: list[str] = field(default_factory=list[str])
    """What went out as deltas."""
    _document: DocumentPieces | None = field(init=False)
    _progress: Progress = field(init=False)

    def __post_init__(self) -> None:
        """Deltas of an answer under a schema are pieces of its document; what is known is known outside at once."""
        self._progress = self.request.progress or Progress()
        self._document = None if self.schema is None else DocumentPieces(self.schema.openings)

    @property
    def usage(self) -> Usage | None:
        """What the vendor has reported so far."""
        return self._progress.usage

    @usage.setter
    def usage(self, usage: Usage | None) -> None:
        self._progress.usage = usage

    @property
    def model(self) -> str | None:
        """The model that answers, as the vendor names it; None until it says."""
        return self._progress.model

    @property
    def request_id(self) -> str | None:
        """The vendor's id of the call; None until it says."""
        return self._progress.request_id

    @property
    def has_text(self) -> bool:
        """There is some text."""
        return bool(self._pieces)

    def begin(self) -> None:
        """The model is at work on the answer, whatever of it is seen."""
        if not self._progress.began:
            self._progress.began = True
            self.request.on_begin()

    def think(self, piece: object) -> None:
        """Take a piece of the model's reasoning, which no reader sees: it is written, and may be billed."""
        if isinstance(piece, str) and piece:
            self._written(piece)

    def add(self, piece: object) -> None:
        """Take the next piece of text; what is no text counts as none.

        Raises:
            Garbled: the answer is longer than any can be.
        """
        if not isinstance(piece, str) or not piece:
            return
        self._chars += len(piece)
        if self._chars > TEXT_CHARS_MAX:
            raise Garbled(f"{self.provider} answered more than {TEXT_CHARS_MAX} characters")
        self._pieces.append(piece)
        self._written(piece)

    def name_model(self, name: object) -> None:
        """Keep the name of the model that answers."""
        self._progress.model = name_in(name) or self._progress.model

    def name_call(self, call_id: object) -> None:
        """Keep the vendor's id of the call; the one from the headers goes first."""
        self._progress.request_id = self._progress.request_id or name_in(call_id)

    def take(self) -> str:
        """What can go out as the next delta; empty when nothing can."""
        fresh = self._pieces[self._read :]
        self._read = len(self._pieces)
        if self._document is not None:
            fresh = [piece for raw in fresh if (piece := self._document.feed(raw))]
        self._shown += fresh
        return "".join(fresh)

    def completion(self) -> Completion:
        """The whole answer; after `take`, its text begins with all that went out.

        Raises:
            SchemaFailure: there is no text, or not the JSON that was asked for.
        """
        stop = self.stop or "other"
        shown = "".join(self._shown)
        text = shown or "".join(self._pieces)
        if stop != "refusal":
            text = self._checked(text, stop, shown=shown)
        usage = self._counted()
        return Completion(
            text=text,
            stop_reason=stop,
            usage=usage,
            usage_estimated=usage != self.usage,
            provider=self.provider,
            model=self.model or self.asked_model,
            asked_model=self.asked_model,
            request_id=self.request_id,
        )

    def rest(self, completion: Completion) -> str:
        """What of the whole text was held back: the last delta."""
        return completion.text[sum(map(len, self._shown)) :]

    def _written(self, piece: str) -> None:
        self._progress.written_bytes += len(piece.encode("utf-8", "replace"))
        self.begin()

    def _checked(self, text: str, stop: StopReason, *, shown: str) -> str:
        """The text, or the document in it."""
        what = "any text" if self.schema is None else "the JSON of the output schema"
        missed = "it is empty"
        if text.strip():
            if self.schema is None:
                return text
            try:
                document = self.schema.document_in(text, self.request.max_output_tokens)
            except Misfit as misfit:
                missed = str(misfit)
            else:
                if document == shown or not shown:
                    return document
                missed = "it holds more than one document"
        if stop == "max_tokens":
            limit = self.request.max_output_tokens
            missed = f"it stopped at {limit} tokens, or where the model's context ends; raise max_output_tokens"
        usage = self._counted()
        raise SchemaFailure(
            f"{self.provider} did not answer with {what}: {missed}",
            usage=usage,
            usage_estimated=usage != self.usage,
            model=self.model or self.asked_model,
            request_id=self.request_id,
            answer=text if text.strip() and stop != "max_tokens" else None,
        )

    def _counted(self) -> Usage:
        """The vendor's count, completed by an estimate where it has gaps: no prompt is without tokens."""
        counted = self.usage
        if counted is not None and counted.prompt:
            return counted
        logger.warning("%s reported no usage, or a part of it; the rest is estimated from the texts", self.provider)
        prompt = estimated_tokens(*(message.content for message in self.request.messages))
        if counted is not None:
            return replace(counted, input=prompt)
        return Usage(input=prompt, output=estimated_tokens("".join(self._pieces)))


def count(counts: object, name: str) -> int:
    """A token count out of a vendor's document: a whole number from 0; what is none counts as 0."""
    value = cast("dict[str, Any]", counts).get(name) if isinstance(counts, dict) else None
    return min(max(value, 0), TOKENS_MAX) if isinstance(value, int) and not isinstance(value, bool) else 0
