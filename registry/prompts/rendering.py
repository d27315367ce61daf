"""A template and its data become messages: deterministic, and no data can pass for wording.

Data stands between `<data KEY>` and `</data KEY>`; KEY is an HMAC of the call, which nobody who writes data knows.
Labels ([P1], [M1]) stand outside. Each placeholder is replaced once, in one pass: one inside data stays text.
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TypeGuard, TypeVar

from registry.errors import InvalidInput
from registry.insights import MetricSeries, Passage
from registry.messages import Message
from registry.prompts.schema import PLACEHOLDER, PromptTemplate, Variable, VariableType

CALL_KEY_BYTES_MIN = 16
DELIMITER_HEX = 16  # 64 bits: one guess for each call, and the next call has another key
INTEGER_MAX = 2**63 - 1
NOTHING = "(none)"

Value = str | int | date | Sequence[Passage] | Sequence[MetricSeries]
"""What a variable takes: str for string, Passages, MetricSeries, date, int."""


_Item = TypeVar("_Item")


class RenderError(InvalidInput):
    """The values do not fit the template's variables."""


def call_key(secret: bytes, call_id: str) -> bytes:
    """Key of one call's data delimiters: HMAC-SHA256(secret, call id). The same call renders the same bytes again."""
    return hmac.new(secret, b"assay prompt data\x00" + call_id.encode(), hashlib.sha256).digest()


def render(template: PromptTemplate, values: Mapping[str, Value], call_key: bytes) -> tuple[Message, ...]:
    """Fill the template with data.

    Args:
        template: The version to render.
        values: One value for each declared variable; optional ones may be missing.
        call_key: From `call_key()`, at least 16 bytes, never shown to whoever writes data.

    Raises:
        RenderError: A value is missing, unknown, of the wrong type, too long, or holds this call's delimiter.
    """
    if len(call_key) < CALL_KEY_BYTES_MIN:
        raise RenderError(f"a call key has at least {CALL_KEY_BYTES_MIN} bytes; got {len(call_key)}")
    _require_names(template, values)
    slot = _Slot(hmac.new(call_key, b"delimiter", hashlib.sha256).hexdigest()[:DELIMITER_HEX])
    rendered = {
        name: _render_value(name, variable, values.get(name), slot) for name, variable in template.variables.items()
    }
    messages: list[Message] = []
    stable = True
    for turn in template.turns:
        first = PLACEHOLDER.search(turn.content)
        wording = len(turn.content) if first is None else first.start()
        content = PLACEHOLDER.sub(lambda match: rendered[match.group(1)], turn.content)
        messages.append(Message(role=turn.role, content=content, stable_chars=wording if stable else 0))
        stable = stable and first is None
    return tuple(messages)


def passage_chars(passage: Passage) -> int:
    """Characters that a passage takes of a variable's `max_chars`."""
    return len(_passage_text(passage))


@dataclass(frozen=True, slots=True)
class _Slot:
    """Wraps data in this call's delimiters."""

    key: str

    def wrap(self, name: str, data: str) -> str:
        if self.key in data:
            raise RenderError(f"variable {name!r} holds this call's data delimiter; refused")
        return f"<data {self.key}>\n{data}\n</data {self.key}>"


def _require_names(template: PromptTemplate, values: Mapping[str, Value]) -> None:
    undeclared = [name for name in template.placeholders if name not in template.variables]
    if undeclared:
        raise RenderError(f"prompt {template.name!r} uses {undeclared[0]!r}, which it does not declare")
    extra = sorted(set(values) - set(template.variables))
    if extra:
        raise RenderError(f"prompt {template.name!r} has no variable {extra[0]!r}; leave it out or declare it")
    missing = [name for name, variable in template.variables.items() if variable.required and name not in values]
    if missing:
        raise RenderError(f"prompt {template.name!r} wants a value for {missing[0]!r}")


def _render_value(name: str, variable: Variable, value: Value | None, slot: _Slot) -> str:
    if value is None:
        return NOTHING
    return _RENDERERS[variable.type](name, variable, value, slot)


def _string(name: str, variable: Variable, value: Value, slot: _Slot) -> str:
    if not isinstance(value, str):
        raise _wrong_type(name, "string", value)
    _require_fits(name, variable, len(value))
    return slot.wrap(name, value)


def _passages(name: str, variable: Variable, value: Value, slot: _Slot) -> str:
    if not _all_of(value, Passage):
        raise _wrong_type(name, "passages", value)
    return _labelled(name, variable, "P", [_passage_text(passage) for passage in value], slot)


def _metrics(name: str, variable: Variable, value: Value, slot: _Slot) -> str:
    if not _all_of(value, MetricSeries):
        raise _wrong_type(name, "metrics", value)
    return _labelled(name, variable, "M", [_metric_text(series) for series in value], slot)


def _labelled(name: str, variable: Variable, letter: str, texts: list[str], slot: _Slot) -> str:
    _require_fits(name, variable, sum(len(text) for text in texts))
    blocks = (f"[{letter}{number}]\n{slot.wrap(name, text)}" for number, text in enumerate(texts, start=1))
    return "\n".join(blocks) or NOTHING


def _date(name: str, variable: Variable, value: Value, slot: _Slot) -> str:
    del variable, slot  # a date has one form and cannot be forged
    if not isinstance(value, date):
        raise _wrong_type(name, "date", value)
    return date(value.year, value.month, value.day).isoformat()


def _integer(name: str, variable: Variable, value: Value, slot: _Slot) -> str:
    del slot  # digits cannot be forged
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > INTEGER_MAX:
        raise _wrong_type(name, "integer", value)
    text = str(value)
    _require_fits(name, variable, len(text))
    return text


_RENDERERS: Mapping[VariableType, Callable[[str, Variable, Value, _Slot], str]] = {
    "string": _string,
    "passages": _passages,
    "metrics": _metrics,
    "date": _date,
    "integer": _integer,
}


def _passage_text(passage: Passage) -> str:
    return f"document: {' '.join(passage.document.split())}\n{passage.text}"


def _metric_text(series: MetricSeries) -> str:
    unit = f" ({series.unit})" if series.unit else ""
    points = "\n".join(f"{point.t}: {_number(point.value)}" for point in series.points)
    return f"metric: {series.name}{unit}\n{points}"


def _number(value: float) -> str:
    """Whole numbers without a point; else the shortest text that reads back to the same float."""
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)  # noqa: PLR2004 - exact there


def _require_fits(name: str, variable: Variable, chars: int) -> None:
    if chars > variable.max_chars:
        raise RenderError(f"variable {name!r} takes {variable.max_chars} characters; got {chars}")


def _wrong_type(name: str, wanted: str, value: Value) -> RenderError:
    return RenderError(f"variable {name!r} takes {wanted}; got {type(value).__name__}")


def _all_of(value: Value, kind: type[_Item]) -> TypeGuard[Sequence[_Item]]:
    return isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(x, kind) for x in value)
