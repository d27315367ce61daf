"""The text that a reader sees, out of what a model writes, while it writes: the pieces joined are the answer.

Under the insights schema it is the member `answer` of the document, else the text itself; citation marks are left out
either way. Nothing is given out that the rest of the text could still change: a mark, white space at the end, a
beginning that may be a document. What never shows itself as an answer comes as one piece at the end.
"""

import re
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Mapping

from registry.answer_member import AnswerMember
from registry.claims import MARKS, OPENING, SPACE, TEXT_CHARS_MAX, read_answer, takes_claims
from registry.errors import JsonValue
from registry.messages import Completion, StreamEvent

_BEGUN_OPENING = re.compile(r"\s*(?:`{0,2}|```[a-zA-Z]*\s*)\Z")
_BEGUN_MARK = re.compile(r"\s?(?:\[[\s\dPM,;]*)?\Z", re.IGNORECASE)


async def answer_text(
    events: AsyncIterable[StreamEvent],
    output_schema: Mapping[str, JsonValue] | None,
    on_completion: Callable[[Completion], None],
) -> AsyncGenerator[str]:
    """The answer's text out of a model's stream, in pieces that are never empty.

    Args:
        events: what a provider streams.
        output_schema: what the model was asked for.
        on_completion: given the whole at the end of the stream, before the last piece.
    """
    reader = AnswerText(output_schema)
    async for event in events:
        if isinstance(event, Completion):
            on_completion(event)
        elif piece := reader.feed(event.text):
            yield piece
    if rest := reader.end():
        yield rest


class AnswerText:
    """Reads one model's answer; `feed` in order, then `end` once.

    Args:
        output_schema: what the model was asked for. Under another one than the insights schema the text is the answer.
    """

    def __init__(self, output_schema: Mapping[str, JsonValue] | None) -> None:
        self._chatter = output_schema is not None
        self._feed = self._opening if output_schema is None or takes_claims(output_schema) else self._verbatim
        self._written = ""
        """All of the text until it is clear what it is."""
        self._left = TEXT_CHARS_MAX
        self._member = AnswerMember()
        self._spaces = _Spaces()
        self._marks = _Marks()

    def feed(self, text: str) -> str:
        """Read on; what of the answer is certain by now, possibly nothing."""
        return self._feed(text)

    def end(self) -> str:
        """The rest of the answer, possibly nothing."""
        return read_answer(self._written, chatter=self._chatter).answer if self._written else self._marks.end()

    def _verbatim(self, text: str) -> str:
        return text

    def _opening(self, text: str) -> str:
        """A document or plain text?"""
        self._written += self._within_limit(text)
        begins = self._written.find("{")
        if begins >= 0 and (self._chatter or OPENING.match(self._written)):
            self._feed = self._document
            return self._found(self._member.feed(self._written[begins:]))
        if self._chatter or _BEGUN_OPENING.match(self._written):
            return ""
        plain, self._written = self._written, ""
        self._feed = self._plain
        return self._marks.feed(self._spaces.feed(plain))

    def _document(self, text: str) -> str:
        text = self._within_limit(text)
        if not self._member.found:
            self._written += text
        return self._found(self._member.feed(text))

    def _found(self, answer: str) -> str:
        if self._member.found:
            self._written = ""
        return self._marks.feed(answer)

    def _plain(self, text: str) -> str:
        return self._marks.feed(self._spaces.feed(self._within_limit(text)))

    def _within_limit(self, text: str) -> str:
        text = text[: self._left]
        self._left -= len(text)
        return text


class _Spaces:
    """Makes one space of several, as the reading of plain text does."""

    def __init__(self) -> None:
        self._ends_in_space = False

    def feed(self, text: str) -> str:
        if not text:
            return ""
        single = SPACE.sub(" ", text)
        joined = single[1:] if self._ends_in_space and single[0] == " " else single
        self._ends_in_space = single[-1] == " "
        return joined


class _Marks:
    """Leaves out citation marks, and white space at both ends."""

    def __init__(self) -> None:
        self._held = ""
        """What may be the beginning of a mark."""
        self._space: str | None = None
        """White space that shows only when something follows; None before the first word."""

    def feed(self, text: str) -> str:
        self._held += text
        begun = _begun_mark(self._held)
        certain, self._held = self._held[:begun], self._held[begun:]
        return self._stripped(MARKS.sub("", certain))

    def end(self) -> str:
        return self._stripped(MARKS.sub("", self._held))

    def _stripped(self, text: str) -> str:
        words = text.rstrip()
        if not words:
            self._space = None if self._space is None else self._space + text
            return ""
        shown = words.lstrip() if self._space is None else self._space + words
        self._space = text[len(words) :]
        return shown


def _begun_mark(text: str) -> int:
    """Where the mark begins that the text may end in the middle of; its length if it cannot."""
    bracket = text.rfind("[")
    for start in (bracket - 1, bracket, len(text) - 1):
        if start >= 0 and _BEGUN_MARK.match(text, start):
            return start
    return len(text)
