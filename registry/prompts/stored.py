"""How MLflow keeps a prompt version: the wording as MLflow does, the rest in one tag.

MLflow's own tags (text, type, model configuration, response format) win over ours: what its UI shows is what runs. A
version typed in the UI has no `assay.spec`; it inherits that of the nearest version before it, else sensible defaults.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, cast

from registry.prompts.schema import PLACEHOLDER, SUPPLIED_VARIABLES, InvalidTemplate, PromptTemplate, validate_template

SPEC_TAG = "assay.spec"
TEXT_TAG = "mlflow.prompt.text"
TYPE_TAG = "_mlflow_prompt_type"
MODEL_CONFIG_TAG = "_mlflow_prompt_model_config"
RESPONSE_FORMAT_TAG = "_mlflow_prompt_response_format"
CONTENT_TAGS = ("mlflow.prompt.", "_mlflow_prompt_", SPEC_TAG)
"""What decides what a version says and does is kept under keys that begin so."""
RUNS_TAG = "mlflow.prompt.associatedRunIds"
"""MLflow's client notes there which runs used a version: no content."""
INFERRED_CHARS_MAX = 4_000
_SHOWN = {"max_tokens": "max_output_tokens", "temperature": "temperature"}
"""What MLflow's model configuration has too: its name → ours. Its top_k is about sampling, ours is about retrieval."""

Json = dict[str, Any]


def is_content(key: str) -> bool:
    """Whether a tag of this key is part of what a version says and does."""
    return key.startswith(CONTENT_TAGS) and key != RUNS_TAG


def to_tags(template: PromptTemplate) -> dict[str, str]:
    """A version's tags: the wording, parameters and answer format where MLflow's UI shows them, and the whole spec."""
    body = template.model_dump(mode="json", exclude={"name", "template"}, exclude_defaults=True)
    tags = {SPEC_TAG: json.dumps(body, ensure_ascii=False)}
    if isinstance(template.template, str):
        tags |= {TYPE_TAG: "text", TEXT_TAG: template.template}
    else:
        turns = [turn.model_dump() for turn in template.template]
        tags |= {TYPE_TAG: "chat", TEXT_TAG: json.dumps(turns, ensure_ascii=False)}
    stated = template.model.model_dump(exclude_unset=True)
    if shown := {theirs: stated[ours] for theirs, ours in _SHOWN.items() if stated.get(ours) is not None}:
        tags[MODEL_CONFIG_TAG] = json.dumps(shown)
    if template.output_schema is not None:
        tags[RESPONSE_FORMAT_TAG] = json.dumps(template.output_schema, ensure_ascii=False)
    return tags


def from_tags(name: str, tags: Mapping[str, str], inherited: str | None = None) -> PromptTemplate:
    """Put a version together from its MLflow tags.

    Args:
        name: The prompt's name.
        tags: The version's tags.
        inherited: `assay.spec` of the nearest earlier version, for one that has none.

    Raises:
        InvalidTemplate: A tag does not hold what it should.
    """
    wording = _wording(name, tags)
    own = tags.get(SPEC_TAG)
    if own is not None:
        body = _json_object(name, SPEC_TAG, own)
    else:
        body = _json_object(name, SPEC_TAG, inherited) if inherited is not None else {}
        body["variables"] = _fit_variables(body.get("variables"), json.dumps(wording))
    defaults: Json = {"use_case": name, "owner": "unknown"}
    document: Json = defaults | body | {"name": name, "template": wording}
    return validate_template(_as_shown_by_mlflow(name, document, tags))


def stated_in_full(name: str, tags: Mapping[str, str], inherited: str | None) -> dict[str, str]:
    """The tags of a version that is being created, with `assay.spec` where its maker left that out.

    So a version typed in the UI stays what it is when those before it are deleted, or a hundred others follow. What is
    no template of ours stays as it is.

    Args:
        name: The prompt's name.
        tags: The version's tags.
        inherited: `assay.spec` of the nearest earlier version, if there is one.
    """
    if SPEC_TAG not in tags and TEXT_TAG in tags:
        with suppress(InvalidTemplate):
            template = from_tags(name, tags, inherited)
            full = {**tags, SPEC_TAG: to_tags(template)[SPEC_TAG]}
            if from_tags(name, full) == template:
                return full
    return dict(tags)


def _wording(name: str, tags: Mapping[str, str]) -> str | list[object]:
    text = tags.get(TEXT_TAG)
    if text is None:
        raise InvalidTemplate(f"{name!r} has no tag {TEXT_TAG!r}: a registered model, not a prompt")
    if tags.get(TYPE_TAG) != "chat":
        return text
    turns = _json(name, TEXT_TAG, text)
    if not isinstance(turns, list):
        raise InvalidTemplate(f"prompt {name!r} says that it is a chat, and its text is not a list of messages")
    return cast("list[object]", turns)


def _fit_variables(declared: object, wording: str) -> Json:
    """Keep the inherited declarations that the wording still uses and infer the others from their names."""
    known = cast("Json", declared) if isinstance(declared, dict) else {}
    used = dict.fromkeys(match.group(1) for match in PLACEHOLDER.finditer(wording))
    kept = {variable: known[variable] for variable in known if variable in used}
    return kept | {variable: _inferred(variable) for variable in used if variable not in kept}


def _inferred(variable: str) -> Json:
    kind, chars = SUPPLIED_VARIABLES.get(variable, ("string", INFERRED_CHARS_MAX))
    return {"type": kind, "max_chars": chars}


def _as_shown_by_mlflow(name: str, document: Json, tags: Mapping[str, str]) -> Json:
    """Lay MLflow's model configuration and response format, which its UI shows and edits, over the spec."""
    if RESPONSE_FORMAT_TAG in tags:
        document["output_schema"] = _json_object(name, RESPONSE_FORMAT_TAG, tags[RESPONSE_FORMAT_TAG])
    if MODEL_CONFIG_TAG in tags:
        shown = _json_object(name, MODEL_CONFIG_TAG, tags[MODEL_CONFIG_TAG])
        model: Json = dict(document.get("model") or {})
        document["model"] = model | {ours: shown[theirs] for theirs, ours in _SHOWN.items() if theirs in shown}
    return document


def _json_object(name: str, tag: str, text: str) -> Json:
    value = _json(name, tag, text)
    if not isinstance(value, dict):
        raise InvalidTemplate(f"tag {tag!r} of prompt {name!r} is not a JSON object; push the version again")
    return cast("Json", value)


def _json(name: str, tag: str, text: str) -> object:
    try:
        return cast("object", json.loads(text))
    except (ValueError, RecursionError) as error:
        raise InvalidTemplate(f"tag {tag!r} of prompt {name!r} is not JSON; push the version again") from error
