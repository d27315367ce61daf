r"""Finds the member `answer` of a JSON document while a model writes it: a scanner that takes any split of the text.

It reads as much JSON as it takes to be certain where the member begins and ends, and no more: what stands behind the
answer, and whether the document ends well, is for others to say. Time and memory are linear in the text.
"""

import re
from collections.abc import Callable

NAME = "answer"
NAME_CHARS_MAX = 100
"""A longer name is not ours, and is not kept."""

_BLANK = re.compile(r"[ \t\r\n]*")
_PLAIN = re.compile(r'[^"\\]+')
_OTHER = re.compile(r'[^"\[\]{},]+')
_ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))')
_BEGUN_ESCAPE = re.compile(r"(?:\\(?:u[0-9a-fA-F]{0,3})?)?\Z")
_LONE = re.compile(r"[\ud800-\udfff]")
_ESCAPED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}

Step = Callable[[list[str]], bool]
"""Reads one token, sets the next step and returns True; False when the token is not whole yet."""


def well_formed(text: str) -> str:
    """The text with U+FFFD for each half of a surrogate pair, which UTF-8 cannot carry."""
    return _LONE.sub("\ufffd", text)


class AnswerMember:
    """The first member `answer` that is a string, of one JSON object; the text must begin with its `{`."""

    def __init__(self) -> None:
        self.found = False
        """The member has begun: what `feed` gives from now on is the answer."""
        self._text = ""
        self._at = 0
        self._step: Step = self._open
        self._depth = 0
        self._name = ""

    def feed(self, text: str) -> str:
        """Read on; the next characters of the answer, unescaped. Half a surrogate pair becomes U+FFFD."""
        self._text, self._at = self._text[self._at :] + text, 0
        written: list[str] = []
        while self._at < len(self._text) and self._step(written):
            pass
        return "".join(written)

    def _open(self, _: list[str]) -> bool:
        return self._go(self._member, 1) if self._next == "{" else self._end()

    def _member(self, _: list[str]) -> bool:
        """A name, or the end of the object."""
        if self._next in ", \t\r\n":
            return self._go(self._member, 1)
        self._name = ""
        return self._go(self._in_name, 1) if self._next == '"' else self._end()

    def _in_name(self, _: list[str]) -> bool:
        if self._next == '"':
            return self._go(self._colon, 1)
        piece: list[str] = []
        known = self._characters(self._in_name, piece)
        self._name = (self._name + "".join(piece))[:NAME_CHARS_MAX]
        return known

    def _colon(self, _: list[str]) -> bool:
        if self._is_blank():
            return True
        return self._go(self._value, 1) if self._next == ":" else self._end()

    def _value(self, _: list[str]) -> bool:
        if self._is_blank():
            return True
        if self._name == NAME and self._next == '"':
            self.found = True
            return self._go(self._in_answer, 1)
        return self._go(self._other, 0)

    def _other(self, _: list[str]) -> bool:
        """The value of another member, and the comma behind it."""
        first = self._next
        if first == '"':
            return self._go(self._in_string, 1)
        if first in "{[":
            self._depth += 1
        elif first in "]}":
            if self._depth == 0:
                return self._end()
            self._depth -= 1
        elif first == ",":
            if self._depth == 0:
                return self._go(self._member, 1)
        elif (run := _OTHER.match(self._text, self._at)) is not None:
            return self._go(self._other, len(run.group()))
        return self._go(self._other, 1)

    def _in_string(self, _: list[str]) -> bool:
        if self._next == '"':
            return self._go(self._other, 1)
        return self._characters(self._in_string, [])

    def _in_answer(self, written: list[str]) -> bool:
        return self._end() if self._next == '"' else self._characters(self._in_answer, written)

    def _characters(self, step: Step, written: list[str]) -> bool:
        """A run of plain characters, or one escape, of a string that goes on."""
        plain = _PLAIN.match(self._text, self._at)
        if plain is not None:
            written.append(well_formed(plain.group()))
            return self._go(step, len(plain.group()))
        escape = _ESCAPE.match(self._text, self._at)
        if escape is None:
            return _BEGUN_ESCAPE.match(self._text, self._at) is None and self._end()
        if escape[2]:
            written.append(_ESCAPED.get(escape[2], escape[2]))
            return self._go(step, 2)
        code, length = int(escape[1], 16), 6
        if 0xD800 <= code <= 0xDBFF:  # noqa: PLR2004 - the first half of a surrogate pair
            second = _ESCAPE.match(self._text, self._at + 6)
            if second is None and _BEGUN_ESCAPE.match(self._text, self._at + 6) is not None:
                return False
            low = int(second[1], 16) if second is not None and second[1] else 0
            if 0xDC00 <= low <= 0xDFFF:  # noqa: PLR2004 - the second half
                code, length = 0x10000 + ((code - 0xD800) << 10) + low - 0xDC00, 12
        written.append(well_formed(chr(code)))
        return self._go(step, length)

    @property
    def _next(self) -> str:
        return self._text[self._at]

    def _is_blank(self) -> bool:
        """Whether white space stood here; it is read then."""
        run = _BLANK.match(self._text, self._at)
        self._at = self._at if run is None else run.end()
        return self._at == len(self._text)

    def _over(self, _: list[str]) -> bool:
        """Whatever follows is not the answer's."""
        self._at = len(self._text)
        return True

    def _end(self) -> bool:
        return self._go(self._over, 0)

    def _go(self, step: Step, read: int) -> bool:
        self._step = step
        self._at += read
        return True
