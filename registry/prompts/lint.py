"""What is wrong with a prompt before anyone runs it."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from registry.prompts.schema import PLACEHOLDER, SUPPLIED_VARIABLES, PromptTemplate

TOKENS_PER_CHAR = 0.25
"""Rough rate for English; used for a size warning only, never for money."""
STATIC_TOKENS_MAX = 2_000
REMINDER_CHARS_MAX = 200
"""So much fixed text may follow the first variable: labels of the data and a last reminder."""
SENTENCE_WORDS_MIN = 3
"""Shorter sentences may repeat without being a mistake."""
TEMPLATE_CODE = ("{%", "{#")
_WORD = re.compile(r"\w+")
_END = re.compile(r"[.!?](?=\s|$)|\n")

Severity = Literal["error", "warning"]
"""error - the version may not be promoted; warning - worth a look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LintFinding:
    """One thing to mend."""

    severity: Severity
    code: str
    """Stable name of the rule, e.g. `undeclared-variable`."""
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One message of a prompt and what it may cost, in estimated tokens."""

    role: str
    fixed_tokens: int
    """Of its own wording, in every call."""
    cacheable_tokens: int
    """Of these, those that stand before the first variable of the whole prompt."""
    data_tokens_max: int
    """Most that its variables may add."""


def sections(template: PromptTemplate) -> tuple[Section, ...]:
    """The messages in order, with their estimated tokens: what is fixed, what a vendor can cache, what data may add."""
    found: list[Section] = []
    stable = True
    for turn in template.turns:
        first = PLACEHOLDER.search(turn.content)
        before = turn.content if first is None else turn.content[: first.start()]
        names = (match.group(1) for match in PLACEHOLDER.finditer(turn.content))
        limits = (template.variables[name].max_chars for name in names if name in template.variables)
        found.append(
            Section(
                role=turn.role,
                fixed_tokens=_tokens(len(PLACEHOLDER.sub("", turn.content))),
                cacheable_tokens=_tokens(len(before)) if stable else 0,
                data_tokens_max=_tokens(sum(limits)),
            )
        )
        stable = stable and first is None
    return tuple(found)


def lint(template: PromptTemplate) -> tuple[LintFinding, ...]:
    """All findings, errors first; empty for a clean template."""
    found = [finding for rule in _RULES for finding in rule(template)]
    return tuple(sorted(found, key=lambda finding: finding.severity != "error"))


def _undeclared(template: PromptTemplate) -> Iterator[LintFinding]:
    for name in template.placeholders:
        if name not in template.variables:
            yield _error("undeclared-variable", f"{{{{{name}}}}} is used and not declared; add it to variables")


def _unused(template: PromptTemplate) -> Iterator[LintFinding]:
    for name in template.variables:
        if name not in template.placeholders:
            yield _error("unused-variable", f"{name!r} is declared and not used; remove it or write {{{{{name}}}}}")


def _unsupplied(template: PromptTemplate) -> Iterator[LintFinding]:
    supplied = ", ".join(sorted(SUPPLIED_VARIABLES))
    for name, variable in template.variables.items():
        kind = SUPPLIED_VARIABLES.get(name, (None, 0))[0]
        if kind is None and variable.required:
            yield _error("unsupplied-variable", f"nothing fills in {name!r}; serving supplies {supplied}")
        elif kind is not None and kind != variable.type:
            yield _error("variable-type", f"{name!r} is declared as {variable.type}; serving supplies {kind}")


def _code(template: PromptTemplate) -> Iterator[LintFinding]:
    for turn in template.turns:
        rest = PLACEHOLDER.sub("", turn.content)
        if "{{" in rest:
            yield _error("malformed-placeholder", "'{{' without a plain name and '}}'; write {{name}}")
        yield from (
            _error("template-code", f"{mark!r} looks like template code, which is never run; remove it")
            for mark in TEMPLATE_CODE
            if mark in rest
        )


def _no_question(template: PromptTemplate) -> Iterator[LintFinding]:
    if "question" not in template.placeholders:
        yield _error("no-question", "the wording never uses {{question}}")


def _data_in_system(template: PromptTemplate) -> Iterator[LintFinding]:
    for turn in template.turns:
        if turn.role == "system" and _data_names(template, turn.content):
            names = ", ".join(_data_names(template, turn.content))
            yield _error("data-in-system", f"data in a system message: {names}; move it to a user message")


def _static_after_dynamic(template: PromptTemplate) -> Iterator[LintFinding]:
    """A vendor caches the unchanging beginning of a prompt; long static text belongs there."""
    whole = "\n".join(turn.content for turn in template.turns)
    first = PLACEHOLDER.search(whole)
    if first is None:
        return
    after = " ".join(PLACEHOLDER.sub("", whole[first.end() :]).split())
    if len(after) > REMINDER_CHARS_MAX:
        yield _warning(
            "static-after-dynamic",
            f"{len(after)} characters of fixed text follow the first variable, {{{{{first.group(1)}}}}}, and cannot be "
            "cached; move them up",
        )


def _duplicated(template: PromptTemplate) -> Iterator[LintFinding]:
    """Among instructions only: an assistant message is an example, and examples may resemble each other."""
    instructions = (turn.content for turn in template.turns if turn.role != "assistant")
    sentences = (" ".join(_WORD.findall(part.casefold())) for text in instructions for part in _END.split(text))
    for sentence, count in Counter(sentences).items():
        if count > 1 and sentence.count(" ") >= SENTENCE_WORDS_MIN - 1:
            yield _warning("duplicated-instruction", f"{sentence[:60]!r} stands {count} times; say it once")


def _no_output_cap(template: PromptTemplate) -> Iterator[LintFinding]:
    if "max_output_tokens" not in template.model.model_fields_set:
        cap = template.model.max_output_tokens
        yield _warning("no-output-cap", f"no model.max_output_tokens; {cap} is assumed. State it")


def _output_schema(template: PromptTemplate) -> Iterator[LintFinding]:
    schema = template.output_schema
    if schema is None:
        return
    properties = schema.get("properties")
    if schema.get("type") != "object" or not isinstance(properties, dict) or "answer" not in properties:
        yield _error("output-schema", "output_schema must describe an object with a property 'answer'")


def _unmarked_data(template: PromptTemplate) -> Iterator[LintFinding]:
    fixed = "\n".join(PLACEHOLDER.sub("", turn.content) for turn in template.turns)
    if "<data" not in fixed and any(_data_names(template, turn.content) for turn in template.turns):
        yield _warning(
            "unexplained-data",
            "say that what stands between <data ...> and </data ...> is material and never an instruction",
        )


def _long(template: PromptTemplate) -> Iterator[LintFinding]:
    for number, section in enumerate(sections(template), start=1):
        tokens = section.fixed_tokens
        if tokens > STATIC_TOKENS_MAX:
            yield _warning("long-section", f"message {number} ({section.role}) has about {tokens} tokens of fixed text")


def _tokens(chars: int) -> int:
    return int(chars * TOKENS_PER_CHAR)


def _data_names(template: PromptTemplate, content: str) -> list[str]:
    """Variables in `content` whose text comes from people or documents."""
    names = (match.group(1) for match in PLACEHOLDER.finditer(content))
    declared = {name: variable.type for name, variable in template.variables.items()}
    return [name for name in dict.fromkeys(names) if declared.get(name) in {"string", "passages", "metrics"}]


def _error(code: str, message: str) -> LintFinding:
    return LintFinding(severity="error", code=code, message=message)


def _warning(code: str, message: str) -> LintFinding:
    return LintFinding(severity="warning", code=code, message=message)


_RULES: tuple[Callable[[PromptTemplate], Iterator[LintFinding]], ...] = (
    _undeclared,
    _unused,
    _unsupplied,
    _code,
    _no_question,
    _data_in_system,
    _static_after_dynamic,
    _duplicated,
    _no_output_cap,
    _output_schema,
    _unmarked_data,
    _long,
)
