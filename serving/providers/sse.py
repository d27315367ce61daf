"""Server-sent events out of bytes, however the network cut them.

Source of the format: WHATWG HTML, section 9.2 (Server-sent events). Ids and reconnection times are read over: a
broken stream is never taken up again.
"""

from dataclasses import dataclass

EVENT_BYTES_MAX = 1024 * 1024
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Event:
    """One event."""

    name: str
    """What its `event` line says; `message` when there is none."""
    data: bytes
    """Its `data` lines, joined by newlines; never empty."""


class EventParser:
    """Takes the bytes of one stream as they come and gives back whole events; an unfinished last one is dropped."""

    def __init__(self, event_bytes_max: int = EVENT_BYTES_MAX) -> None:
        self._event_bytes_max = event_bytes_max
        self._rest = bytearray()
        """Bytes of a line whose end has not come."""
        self._after_cr = False
        """The last byte was a carriage return: a newline that follows belongs to the same line end."""
        self._begun = False
        self._name = ""
        self._data: list[bytes] = []
        self._held_bytes = 0
        """Of the event that has not ended."""

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that end in this chunk.

        Raises:
            ValueError: an event is longer than the limit.
        """
        if self._after_cr and chunk:
            self._after_cr = False
            chunk = chunk.removeprefix(b"\n")
        if b"\n" not in chunk and b"\r" not in chunk:
            self._rest += chunk
            self._check(len(self._rest))
            return []
        lines = (bytes(self._rest) + chunk).splitlines()
        self._rest.clear()
        self._after_cr = chunk.endswith(b"\r")
        if not chunk.endswith((b"\n", b"\r")):
            self._rest += lines.pop()
        events = [event for line in lines if (event := self._take(line)) is not None]
        self._check(len(self._rest))
        return events

    def _take(self, line: bytes) -> Event | None:
        """Read one line; the empty one ends an event."""
        if not self._begun:
            self._begun = True
            line = line.removeprefix(_BOM)
        if not line:
            return self._end()
        field, _, value = line.partition(b":")
        if field == b"data":
            value = value.removeprefix(b" ")
            self._data.append(value)
            self._held_bytes += len(value) + 1
            self._check(0)
        elif field == b"event":
            self._check(len(value))
            self._name = value.removeprefix(b" ").decode(errors="replace")
        return None

    def _end(self) -> Event | None:
        data, name = b"\n".join(self._data), self._name
        self._data.clear()
        self._name = ""
        self._held_bytes = 0
        return Event(name or "message", data) if data else None

    def _check(self, more_bytes: int) -> None:
        if self._held_bytes + more_bytes > self._event_bytes_max:
            raise ValueError(f"an event of the stream is longer than {self._event_bytes_max} bytes")
