"""What the linter finds, and what it lets pass."""

from pathlib import Path
from typing import Any

import pytest

from registry.prompts.lint import lint
from registry.prompts.schema import ModelParameters, PromptTemplate, Turn, Variable, load_template

PROMPTS = Path(__file__).parents[3] / "prompts"
SYSTEM = Turn(role="system", content="Answer from what stands between <data ...> and </data ...>, in one sentence.")


def template(user: str = "{{passages}} {{question}}", **change: Any) -> PromptTemplate:
    """A sound template with changes."""
    fields: dict[str, Any] = {
        "name": "brief",
        "use_case": "insights",
        "owner": "platform",
        "template": (SYSTEM, Turn(role="user", content=user)),
        "variables": {
            "question": Variable(type="string", max_chars=100),
            "passages": Variable(type="passages", max_chars=1000),
        },
        "model": ModelParameters(max_output_tokens=300),
    }
    return PromptTemplate(**(fields | change))


def codes(prompt: PromptTemplate) -> list[str]:
    """Codes of all findings."""
    return [finding.code for finding in lint(prompt)]


@pytest.mark.parametrize("file", sorted(PROMPTS.glob("*.yaml")), ids=lambda file: file.stem)
def test_shipped_prompts_are_clean(file: Path) -> None:
    """Every prompt in the repository passes without a finding."""
    assert lint(load_template(file)) == ()


def test_a_sound_template_has_no_findings() -> None:
    """The smallest sound template is clean."""
    assert codes(template()) == []


MORE = {"question": Variable(max_chars=100), "passages": Variable(type="passages", max_chars=1000)}


@pytest.mark.parametrize(
    ("prompt", "code"),
    [
        (template("{{passages}} {{question}} {{nobody}}"), "undeclared-variable"),
        (template("{{question}}"), "unused-variable"),
        (
            template("{{passages}} {{question}} {{mood}}", variables={**MORE, "mood": Variable(max_chars=9)}),
            "unsupplied-variable",
        ),
        (
            template(variables={**MORE, "passages": Variable(type="string", max_chars=9)}),
            "variable-type",
        ),
        (template("{{passages}} {{question}} {{user.name}}"), "malformed-placeholder"),
        (template("{{passages}} {{question}} {% if x %}"), "template-code"),
        (template("{{passages}} {{question}} {# note #}"), "template-code"),
        (template("{{passages}}", variables={"passages": MORE["passages"]}), "no-question"),
        (template(template=(Turn(role="system", content="<data {{passages}} {{question}}"),)), "data-in-system"),
        (template(output_schema={"type": "array"}), "output-schema"),
        (template(output_schema={"type": "object", "properties": {"text": {}}}), "output-schema"),
    ],
)
def test_errors(prompt: PromptTemplate, code: str) -> None:
    """Each of these keeps a version from being promoted."""
    assert code in [finding.code for finding in lint(prompt) if finding.severity == "error"]


@pytest.mark.parametrize(
    ("prompt", "code"),
    [
        (template("{{passages}} {{question}}" + " mind the tone" * 20), "static-after-dynamic"),
        (template("word " * 900 + "{{passages}} {{question}}" + " mind the tone" * 20), "static-after-dynamic"),
        (
            template("- Cite each source.\n* cite  each source!\n{{passages}}{{question}}"),
            "duplicated-instruction",
        ),
        (
            template("Be brief and plain. Cite sources. Be brief, and plain.\n{{passages}}{{question}}"),
            "duplicated-instruction",
        ),
        (template(model=ModelParameters()), "no-output-cap"),
        (template(template="Answer: {{passages}} {{question}}"), "unexplained-data"),
        (template("word " * 2_000 + "{{passages}} {{question}}"), "long-section"),
    ],
)
def test_warnings(prompt: PromptTemplate, code: str) -> None:
    """Each of these is worth a look and refuses nothing."""
    assert [(finding.code, finding.severity) for finding in lint(prompt)] == [(code, "warning")]


def test_errors_come_first() -> None:
    """A reader sees what blocks before what is merely worth a look."""
    prompt = template("{{passages}} {{question}} {{nobody}}", model=ModelParameters())
    assert [finding.severity for finding in lint(prompt)] == ["error", "warning"]


def test_an_optional_variable_that_nobody_supplies_is_allowed() -> None:
    """It renders as "(none)", so it breaks nothing."""
    variables = {**MORE, "mood": Variable(max_chars=9, required=False)}
    assert codes(template("{{passages}} {{question}} {{mood}}", variables=variables)) == []


def test_labels_and_a_last_reminder_may_follow_the_data() -> None:
    """Text that has to stand beside or after its data is no finding."""
    user = "Passages:\n{{passages}}\n\nQuestion:\n{{question}}\n\nAnswer from the passages only, and cite them."
    assert codes(template(user)) == []


def test_examples_and_labels_may_repeat() -> None:
    """Two examples with the same answer, and a label that stands twice, are no duplicated instructions."""
    example = Turn(role="assistant", content="I do not know that.")
    user = Turn(role="user", content="Passages:\n{{passages}}\nQuestion:\n{{question}}\nPassages:")
    assert codes(template(template=(SYSTEM, example, example, user))) == []
