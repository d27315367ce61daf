"""The prompt template: one record, whether it stands in a YAML file, in MLflow or in memory.

* InvalidTemplate (InvalidInput) - a template that cannot be used; says which field to change
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, StringConstraints, ValidationError
from pydantic import JsonValue as PydanticJson

from registry.errors import InvalidInput
from registry.insights import Name, Record
from registry.messages import Role

TEMPLATE_CHARS_MAX = 60_000
FILE_BYTES_MAX = 256 * 1024
TURNS_MAX = 20
VARIABLES_MAX = 32

PLACEHOLDER = re.compile(r"\{\{\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*\}\}")
"""`{{name}}`, as MLflow writes it; nothing else in a template is ever replaced."""

VariableName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]{0,62}$")]

VariableType = Literal["string", "passages", "metrics", "date", "integer"]
"""What a variable takes.

* string - text of a person: goes between data delimiters
* passages - retrieved passages, each between delimiters under its label [P1], [P2], ...
* metrics - metric series, each between delimiters under its label [M1], [M2], ...
* date - a calendar date, written as 2026-01-31
* integer - a whole number
"""

SUPPLIED_VARIABLES: Mapping[str, tuple[VariableType, int]] = {
    "question": ("string", 4_000),
    "passages": ("passages", 24_000),
    "metrics": ("metrics", 12_000),
    "today": ("date", 10),
}
"""What serving fills in, with the limit assumed for a version that declares none."""


class InvalidTemplate(InvalidInput):
    """This prompt template cannot be used; the message names the field."""


class Variable(Record):
    """What one `{{name}}` takes, and how much of it."""

    type: VariableType = "string"
    max_chars: Annotated[int, Field(ge=1, le=400_000)]
    """Most characters of data, labels and delimiters not counted."""
    required: bool = True
    """False: a missing value renders as "(none)"."""
    sensitive: bool = False
    """True: the value may hold personal data. It tells people so; no variable's value stands in a log or an error."""


class ModelParameters(Record):
    """How a version wants to be run. A default, once released, is never changed: old hashes rest on it."""

    max_output_tokens: Annotated[int, Field(ge=1, le=32_000)] = 800
    """Hard cap on generated tokens."""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    """Sent only to vendors that take one."""
    top_k: Annotated[int, Field(ge=1, le=50)] = 8
    """Most passages to retrieve."""
    score_min: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Least score of a sentence that provider `extractive` answers with; 0 means its own. Nothing else reads it."""
    claims_max: Annotated[int, Field(ge=1, le=50)] = 5
    """Most claims in an answer."""


Wording = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=TEMPLATE_CHARS_MAX)]
"""Without white space around it, which MLflow's UI cuts off: a copy made there is the same content."""


class Turn(Record):
    """One message of a chat template."""

    role: Role
    content: Wording


Turns = Annotated[tuple[Turn, ...], Field(min_length=1, max_length=TURNS_MAX)]


class PromptTemplate(Record):
    """One version of a prompt, unrendered: wording, variables, parameters and the shape of its answer."""

    name: Name
    use_case: Name
    description: Annotated[str, StringConstraints(max_length=2_000)] = ""
    owner: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    """Who answers for it, e.g. a team."""
    template: Wording | Turns
    """A text (sent as one user message) or the turns of a chat."""
    variables: Annotated[dict[VariableName, Variable], Field(max_length=VARIABLES_MAX)] = Field(default_factory=dict)
    output_schema: dict[str, PydanticJson] | None = None
    """JSON Schema of the answer; None asks for plain text with [P1] marks."""
    model: ModelParameters = ModelParameters()

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The template as chat turns; a text template is one user turn."""
        if isinstance(self.template, str):
            return (Turn(role="user", content=self.template),)
        return self.template

    @property
    def instructions(self) -> str:
        """The fixed wording: what stands around the variables."""
        return "\n".join(PLACEHOLDER.sub("", turn.content) for turn in self.turns)

    @property
    def placeholders(self) -> tuple[str, ...]:
        """Names of the variables that the wording uses, in the order of their first use."""
        found = (match.group(1) for turn in self.turns for match in PLACEHOLDER.finditer(turn.content))
        return tuple(dict.fromkeys(found))


def content_hash(template: PromptTemplate) -> str:
    """SHA-256 (hex) of what decides behaviour: wording, variables, output schema and parameters.

    Name, owner, use case and description may change without a new hash. Values equal to a default count as not
    stated, so that a field added later leaves the hashes of older versions as they are.
    """
    body = template.model_dump(mode="json", include={"template", "variables", "model"}, exclude_defaults=True)
    body["output_schema"] = template.output_schema
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def parse_template(text: str) -> PromptTemplate:
    """Read a template from YAML.

    Raises:
        InvalidTemplate: It is not YAML, or a field is missing, unknown or out of its limits.
    """
    if len(text.encode("utf-8", "surrogatepass")) > FILE_BYTES_MAX:
        raise InvalidTemplate(f"a prompt file may have {FILE_BYTES_MAX} bytes; shorten it")
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise InvalidTemplate("a prompt file may not use YAML aliases (*name); write the value out")
        loaded = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidTemplate(f"not YAML: {error}") from error
    return validate_template(loaded)


def load_template(path: Path) -> PromptTemplate:
    """Read a template from a YAML file.

    Raises:
        InvalidTemplate: The file cannot be read, or its content is not a template.
    """
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise InvalidTemplate(f"{str(path)!r} is larger than {FILE_BYTES_MAX} bytes; shorten it")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InvalidTemplate(f"there is no file {str(path)!r}; name a prompt's YAML file") from None
    except IsADirectoryError:
        raise InvalidTemplate(f"{str(path)!r} is a folder; name a prompt's YAML file") from None
    except UnicodeDecodeError:
        raise InvalidTemplate(f"{str(path)!r} is not UTF-8 text; save it as such") from None
    except OSError as error:
        raise InvalidTemplate(f"{str(path)!r} cannot be read ({error.strerror}); check its permissions") from error
    try:
        return parse_template(text)
    except InvalidTemplate as error:
        raise InvalidTemplate(f"{str(path)!r}: {error.message}") from error


def validate_template(value: object) -> PromptTemplate:
    """Check a loaded document and make it a template.

    Raises:
        InvalidTemplate: A field is missing, unknown or out of its limits.
    """
    if not isinstance(value, dict):
        raise InvalidTemplate("a prompt is a mapping with name, use_case, owner, template and variables")
    try:
        return PromptTemplate.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "document"
        raise InvalidTemplate(f"field {place!r}: {first['msg']}") from error


def to_yaml(template: PromptTemplate) -> str:
    """Write a template as YAML that `parse_template` reads back to the same record; defaults are written, too."""
    body = template.model_dump(mode="json")
    return yaml.dump(body, Dumper=_BlockDumper, sort_keys=False, allow_unicode=True, width=100)


class _BlockDumper(yaml.SafeDumper):
    """Writes text of several lines as a block, as people do: a diff of two versions reads line by line."""


def _block(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    # The stubs leave the parameter `value` without a type.
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)  # pyright: ignore[reportUnknownMemberType]


_BlockDumper.add_representer(str, _block)
