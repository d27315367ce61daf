"""JSON under a schema: checking what a model wrote, and letting its document through as it is written."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, cast

import jsonschema_rs
import orjson

from registry.errors import JsonValue
from serving.providers.base import Rejected

SCHEMAS_KEPT_MAX = 128
"""Compiled schemas kept: one for each prompt version in use, and far more than that."""
OPENINGS_MAX = 16
"""Brackets in the chatter around a document that are tried as its beginning."""
FAILED_CHARS_MAX = 1024 * 1024
"""Characters that tries may read in vain, all together, until there is no next one: some 20 ms of the event loop."""
CHARS_PER_TOKEN_MAX = 64
"""Of any text: what is longer than so many times its limit was not written by a model that keeps to it."""
BACKTRACKS_MAX = 100_000
"""Steps of one `pattern` of a schema on one string; a pattern that wants more fails."""

_BEYOND_STRICT = frozenset(
    [
        "allOf",
        "oneOf",
        "not",
        "if",
        "then",
        "else",
        "dependentRequired",
        "dependentSchemas",
        "minLength",
        "maxLength",
        "uniqueItems",
        "contains",
        "minContains",
        "maxContains",
        "minProperties",
        "maxProperties",
        "patternProperties",
        "propertyNames",
        "unevaluatedItems",
        "unevaluatedProperties",
    ]
)
"""What OpenAI's strict mode answers with 400. A property of such a name costs no more than the strictness."""
_OPENING = re.compile(r"[{\[]")
_MARK = re.compile(r'["\\{}\[\]]')
_DECODER = json.JSONDecoder()


class Misfit(ValueError):
    """A text is not the JSON that a schema asks for; the message says what missed, and quotes nothing of the text."""


@dataclass(frozen=True, slots=True)
class Schema:
    """A JSON Schema, ready to check answers."""

    document: Mapping[str, Any]
    source: bytes
    """The document as JSON text."""
    strict: bool
    """It meets OpenAI's strict mode."""
    validator: Any
    """Of jsonschema-rs, whose validator classes share no public base."""

    @property
    def openings(self) -> str:
        """The brackets that a document of this schema can begin with."""
        return "{" if self.document.get("type") == "object" else "{["

    def document_in(self, text: str, tokens_max: int) -> str:
        """The one JSON document in a text that satisfies this schema, without fences or chatter around it.

        Chatter is searched as far as `tokens_max` tokens can reach, and not for long.

        Raises:
            Misfit: there is none.
        """
        stripped = text.strip()
        try:
            value: object = orjson.loads(stripped)
        except ValueError:
            return self._document_amid(stripped[: tokens_max * CHARS_PER_TOKEN_MAX])
        if not self.validator.is_valid(value):
            raise Misfit(self._missed(value))
        return stripped

    def _document_amid(self, text: str) -> str:
        missed = "it holds no JSON document"
        at = failed_chars = 0
        for _ in range(OPENINGS_MAX):
            if failed_chars > FAILED_CHARS_MAX or (opening := _OPENING.search(text, at)) is None:
                break
            try:
                value, at = cast("tuple[object, int]", _DECODER.raw_decode(text, opening.start()))
            except (ValueError, RecursionError):
                failed_chars += len(text) - opening.start()  # as far as it may have read
                at = opening.end()
                continue
            if self.validator.is_valid(value):
                return text[opening.start() : at]
            missed = self._missed(value)
        raise Misfit(missed)

    def _missed(self, value: object) -> str:
        """Where the schema is broken. Neither the value nor its member names are told: a model chose them."""
        for error in islice(self.validator.iter_errors(value), 1):
            path = "/".join(map(str, error.schema_path))
            return f"it breaks {path!r} of the output schema"
        return "it breaks the output schema"


def compiled(schema: Mapping[str, JsonValue]) -> Schema:
    """Make a schema ready for use; the same schema is compiled once.

    Raises:
        Rejected: it is no JSON Schema, or refers to a document elsewhere.
    """
    return _compiled(orjson.dumps(dict(schema)))


@lru_cache(maxsize=SCHEMAS_KEPT_MAX)
def _compiled(source: bytes) -> Schema:
    document: dict[str, Any] = orjson.loads(source)
    try:
        # Offline: a reference must not make the server fetch an address out of a prompt file.
        validator = jsonschema_rs.validator_for(
            document,
            offline=True,
            pattern_options=jsonschema_rs.FancyRegexOptions(backtrack_limit=BACKTRACKS_MAX),
        )
    except (ValueError, jsonschema_rs.ReferencingError):
        raise Rejected("the output schema is no JSON Schema that stands alone; correct the prompt version") from None
    return Schema(document=document, source=source, strict=is_strict(document), validator=validator)


def is_strict(schema: Mapping[str, Any]) -> bool:
    """Whether a JSON Schema meets OpenAI's strict mode: objects, closed, with every property required, few keywords."""
    return schema.get("type") == "object" and "anyOf" not in schema and _is_closed(schema)


def _is_closed(schema: Any) -> bool:
    if isinstance(schema, list):
        return all(_is_closed(item) for item in cast("list[Any]", schema))
    if not isinstance(schema, Mapping):
        return True
    fields = cast("Mapping[str, Any]", schema)
    if not _BEYOND_STRICT.isdisjoint(fields):
        return False
    properties = fields.get("properties")
    kinds = fields.get("type")
    if kinds == "object" or (isinstance(kinds, list) and "object" in kinds) or isinstance(properties, Mapping):
        names = set(cast("Mapping[str, Any]", properties or {}))
        if fields.get("additionalProperties") is not False or names != set(fields.get("required") or ()):
            return False
    return all(_is_closed(value) for value in fields.values())


class DocumentPieces:
    """Lets the pieces of a streamed JSON document through, to its last bracket and no further.

    A text that begins with anything but a bracket (a fence, a sentence) is held back whole: where its document stands
    is known only at the end.
    """

    def __init__(self, openings: str = "{[") -> None:
        self._openings = openings
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self._begun = False
        self._over = False

    def feed(self, piece: str) -> str:
        """What of the next piece, not empty, belongs to the document; empty when nothing does, or not for sure."""
        if self._over:
            return ""
        if not self._begun:
            piece = piece.lstrip()
            if not piece:
                return ""
            self._begun = True
            self._over = piece[0] not in self._openings
            if self._over:
                return ""
        return piece[: self._end(piece)]

    def _end(self, piece: str) -> int:
        """Where the document ends in this piece; the piece's length when it goes on."""
        at = 1 if self._escaped else 0
        self._escaped = False
        while (mark := _MARK.search(piece, at)) is not None:
            at = mark.end()
            match mark.group():
                case '"':
                    self._in_string = not self._in_string
                case "\\":
                    at += 1  # whatever is escaped is no mark
                    self._escaped = at > len(piece)
                case bracket if not self._in_string:
                    self._depth += 1 if bracket in "{[" else -1
                    if not self._depth:
                        self._over = True
                        return at
                case _:
                    pass
        return len(piece)
