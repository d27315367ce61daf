"""How a fake vendor sends an answer on a bad day: too slowly, too much, twice, in odd pieces, or not to the end."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from fakes.fake_openai import Responses
from fakes.fake_vendor_faults import REFUSALS, Fault
from fakes.fake_vendor_wire import Event, Format

_BLOCK = b" " * 65_536
_BLOCKS = 2_000
HUGE_BYTES = len(_BLOCK) * _BLOCKS
"""131 MB, far beyond any limit of a client."""
HUGE_EVENT_CHARS = 2_000_000
_DRIP_S = 0.02
_FRAME_BYTES = 5
_LEFT_OUT = {
    *("id", "model", "usage", "object", "created", "created_at", "service_tier", "index", "logprobs", "role"),
    *("finish_reason", "refusal", "reasoning_content", "annotations"),
}


class Cut(Exception):
    """Close the connection here."""


def whole_body(answer: Mapping[str, Any], fault: Fault) -> bytes:
    """An answer that is not streamed, as bytes."""
    if fault == "no-content":
        return b'{"id": "x"}'
    body = json.dumps(_bare(answer) if fault == "bare" else answer).encode()
    return body[: len(body) // 2] if fault == "malformed" else body


async def body_pieces(body: bytes, fault: Fault, release: asyncio.Event) -> AsyncIterator[bytes]:
    """Those bytes, as they go over the wire.

    Raises:
        Cut: the connection ends here.
    """
    if fault == "drip":
        async for piece in _drip(body):
            yield piece
        return
    half = 0 if fault == "stall-body" else len(body) // 2
    yield body[:half]
    if fault in {"cut", "unfinished"}:
        raise Cut
    if fault in {"stall-mid", "stall-body"}:
        await release.wait()
    for _ in range(_BLOCKS if fault == "huge" else 0):
        yield _BLOCK
    yield body[half:]


async def stream_pieces(
    events: Sequence[Event], form: Format, fault: Fault, release: asyncio.Event
) -> AsyncIterator[bytes]:
    """The events of a stream, as they go over the wire.

    Raises:
        Cut: the connection ends here.
    """
    if fault == "stall-body":
        await release.wait()
    played = _played(events, form, fault)
    if fault in {"drip", "odd-framing"}:
        async for piece in _reframed(played, fault):
            yield piece
        return
    first = next((at for at, event in enumerate(played) if event.piece), None)
    for at, event in enumerate(played):
        if (fault, at) in {("stall-thinking", first), ("stall-opened", 1)}:
            await release.wait()
        yield event.encode()
        if at != first:
            continue
        if fault == "unfinished":
            return
        if fault == "cut":
            raise Cut
        if fault == "stall-mid":
            await release.wait()


def _played(events: Sequence[Event], form: Format, fault: Fault) -> list[Event]:
    """The events with the fault among them."""
    first = next((at for at, event in enumerate(events) if event.piece), len(events) - 1)
    before, piece, after = list(events[:first]), events[first], list(events[first + 1 :])
    errors = {"error-first": "overloaded", "error-event": "overloaded", "error-limited": "rate-limited"}
    if fault in errors or (fault == "failed" and not isinstance(form, Responses)):
        error = form.error_event(REFUSALS[errors.get(fault, "server-error")])
        return [*before, *([] if fault == "error-first" else [piece]), error]
    planted = [piece]
    if fault == "malformed":
        planted = [piece, replace(piece, data='{"type": "content_block_delta", "del')]
    elif fault == "huge-event":
        planted = [piece, _padded(piece, HUGE_EVENT_CHARS)]
    elif fault == "huge":
        planted = [_padded(piece, len(_BLOCK))] * _BLOCKS
    played = [*before, *planted, *after]
    if fault == "duplicates":
        # Without a number nobody can tell a piece that came twice from one that was written twice.
        numbered = isinstance(form, Responses)
        played = [event for event in played for _ in range(1 if event.piece and not numbered else 2)]
    if fault == "bare":
        played = [replace(event, data=_bare(event.data)) for event in played]
    return [Event({"id": "x"})] if fault == "no-content" else played


async def _reframed(events: Sequence[Event], fault: Fault) -> AsyncIterator[bytes]:
    if fault == "drip":
        async for piece in _drip(b"".join(event.encode() for event in events)):
            yield piece
    else:
        data = b"".join(_oddly_framed(event) for event in events)
        for at in range(0, len(data), _FRAME_BYTES):
            yield data[at : at + _FRAME_BYTES]


def _padded(event: Event, chars: int) -> Event:
    assert isinstance(event.data, dict)
    return replace(event, data=event.data | {"pad": "x" * chars})


def _oddly_framed(event: Event) -> bytes:
    data = event.data if isinstance(event.data, str) else json.dumps(event.data)
    # Between the brace and the first member JSON takes a line feed, which is what two data lines are joined by.
    lines = [data[:1], data[1:]] if data.startswith("{") else [data]
    fields = [": a comment", "id: 7", "retry: 10", *([f"event:{event.name}"] if event.name else [])]
    return "".join(f"{line}\r\n" for line in [*fields, *(f"data:{line}" for line in lines), ""]).encode()


async def _drip(data: bytes) -> AsyncIterator[bytes]:
    for at in range(len(data)):
        yield data[at : at + 1]
        await asyncio.sleep(_DRIP_S)


def _bare(value: Any) -> Any:
    if isinstance(value, list):
        return [_bare(item) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        return {name: _bare(item) for name, item in members.items() if name not in _LEFT_OUT}
    return value
