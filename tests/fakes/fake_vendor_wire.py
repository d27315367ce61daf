"""What every fake vendor format is made of: a reply before it is written down, an event of a stream.

The formats themselves are in `fake_anthropic` and `fake_openai`. Every answer carries some reasoning
before its text, and reads 100 prompt tokens from a cache: what is added up twice or shown by mistake is seen at once.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

from fakes.fake_vendor_faults import Refusal

from registry.messages import Usage

Json = dict[str, Any]
Stop = Literal["end", "max_tokens", "refusal", "filter"]

PIECE_CHARS = 7
USAGE = Usage(input=20, cache_read=100, output=30, reasoning=12)
"""What each vendor reports, in its own convention."""
REASONING = "planted reasoning that no reader may see"


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer, before it is put into a vendor's format."""

    text: str
    model: str
    stop: Stop = "end"
    usage: bool = True
    failed: bool = False
    """Responses only: the answer's status is `failed`."""

    @property
    def pieces(self) -> list[str]:
        """The text as a stream brings it."""
        return [self.text[at : at + PIECE_CHARS] for at in range(0, len(self.text), PIECE_CHARS)]


@dataclass(frozen=True)
class Event:
    """One event of a stream."""

    data: Json | str
    name: str | None = None
    piece: bool = False
    """It carries a piece of the answer's text."""

    def encode(self) -> bytes:
        """As it goes over the wire."""
        data = self.data if isinstance(self.data, str) else json.dumps(self.data)
        return (f"event: {self.name}\n" if self.name else "").encode() + f"data: {data}\n\n".encode()


class Format(Protocol):
    """One vendor's way of writing."""

    @property
    def request_id(self) -> str:
        """Name of the header that carries the call's id."""
        ...

    def answer(self, reply: Reply) -> Json:
        """A whole answer."""
        ...

    def events(self, reply: Reply, body: Mapping[str, Any]) -> list[Event]:
        """The same as a stream."""
        ...

    def error(self, refusal: Refusal) -> Json:
        """The document that comes with an error's status."""
        ...

    def error_event(self, refusal: Refusal) -> Event:
        """The event that ends a stream which went wrong."""
        ...

    def complaint(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> str | None:
        """What this vendor would not accept about a request; None when it is good."""
        ...


def named(kind: str, **data: Any) -> Event:
    """An event whose name is its type."""
    return Event({"type": kind, **data}, kind)


def is_closed(schema: Any) -> bool:
    """Whether every object of a JSON Schema forbids further members."""
    if isinstance(schema, list):
        return all(map(is_closed, cast("list[Any]", schema)))
    if not isinstance(schema, dict):
        return True
    members = cast("Json", schema)
    if members.get("type") == "object" and members.get("additionalProperties") is not False:
        return False
    return all(map(is_closed, members.values()))
