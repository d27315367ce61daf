"""What a prompt template may be, and what its content hash covers."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.prompts.schema import (
    FILE_BYTES_MAX,
    InvalidTemplate,
    ModelParameters,
    PromptTemplate,
    Turn,
    Variable,
    content_hash,
    load_template,
    parse_template,
    to_yaml,
)

TEXT = """
name: brief
use_case: insights
owner: platform
template: Answer {{question}} from {{passages}}.
variables:
  question: {type: string, max_chars: 100}
  passages: {type: passages, max_chars: 1000}
"""

words = (
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"], include_characters="\n"))
    .map(str.strip)
    .filter(bool)
)
variables = st.dictionaries(
    st.from_regex(r"[a-z_][a-z0-9_]{0,10}", fullmatch=True),
    st.builds(
        Variable,
        type=st.sampled_from(["string", "passages", "metrics", "date", "integer"]),
        max_chars=st.integers(1, 400_000),
        required=st.booleans(),
        sensitive=st.booleans(),
    ),
    max_size=4,
)
turns = st.lists(
    st.builds(Turn, role=st.sampled_from(["system", "user", "assistant"]), content=words), min_size=1, max_size=4
)
templates = st.builds(
    PromptTemplate,
    name=st.just("brief"),
    use_case=st.just("insights"),
    owner=words.map(lambda text: text[:200]),
    description=st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=50),
    template=words | turns.map(tuple),
    variables=variables,
    output_schema=st.none() | st.just({"type": "object", "properties": {"answer": {"type": "string"}}}),
    model=st.builds(
        ModelParameters,
        max_output_tokens=st.integers(1, 32_000),
        temperature=st.none() | st.floats(0, 2),
        top_k=st.integers(1, 50),
    ),
)


def test_a_template_is_read_from_yaml() -> None:
    """A file gives a typed template, with defaults for what it does not state."""
    template = parse_template(TEXT)
    assert template.placeholders == ("question", "passages")
    assert template.turns == (Turn(role="user", content="Answer {{question}} from {{passages}}."),)
    assert (template.model.max_output_tokens, template.model.top_k) == (800, 8)


@given(templates)
def test_yaml_gives_back_the_same_template(template: PromptTemplate) -> None:
    """Writing a template as YAML and reading it changes nothing, the hash least of all."""
    again = parse_template(to_yaml(template))
    assert again == template
    assert content_hash(again) == content_hash(template)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (("owner: platform", "owner: ''"), "owner"),
        (("name: brief", "name: Brief!"), "name"),
        (("max_chars: 100", "max_chars: 0"), "variables.question.max_chars"),
        (("type: string", "type: strnig"), "variables.question.type"),
        (("owner: platform", "owner: platform\nmodle: {}"), "modle"),
        (("template: Answer {{question}} from {{passages}}.", "template: ''"), "template"),
    ],
)
def test_a_wrong_field_is_named(change: tuple[str, str], field: str) -> None:
    """The message of a refused file names the field to change."""
    with pytest.raises(InvalidTemplate, match=f"field '{field}"):
        parse_template(TEXT.replace(*change))


@pytest.mark.parametrize("text", ["", "- a", "3", "a: [", "\x00", "a: &x [1]\nb: *x", "x" * (FILE_BYTES_MAX + 1)])
def test_what_is_no_template_is_refused(text: str) -> None:
    """Anything that is not a mapping in YAML, uses aliases or is too large is refused with a sentence."""
    with pytest.raises(InvalidTemplate):
        parse_template(text)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A missing file, a directory, bytes that are no text and an endless name are refused by name, in our words."""
    binary, endless = tmp_path / "binary.yaml", tmp_path / ("x" * 300)
    binary.write_bytes(b"\xff\xfe\x00")
    said = {tmp_path / "missing.yaml": "there is no file", tmp_path: "is a folder", binary: "is not UTF-8"}
    for path, words in {**said, endless: "cannot be read"}.items():
        with pytest.raises(InvalidTemplate, match=words) as refused:
            load_template(path)
        assert path.name in refused.value.message
        assert "Errno" not in refused.value.message


def test_the_hash_covers_what_decides_behaviour() -> None:
    """Wording, variables, parameters and schema change the hash; name, owner, use case and description do not."""
    template = parse_template(TEXT)
    same = {"name": "other", "owner": "another team", "use_case": "reports", "description": "New words."}
    assert content_hash(template.model_copy(update=same)) == content_hash(template)
    changed = (
        {"template": "Answer {{question}} from {{passages}}!"},
        {"variables": {}},
        {"model": ModelParameters(top_k=9)},
        {"output_schema": {"type": "object"}},
        {"template": (Turn(role="user", content="Answer {{question}} from {{passages}}."),)},
    )
    hashes = {content_hash(template.model_copy(update=change)) for change in changed}
    assert len(hashes | {content_hash(template)}) == len(changed) + 1


def test_a_stated_default_hashes_like_an_unstated_one() -> None:
    """Writing a default out is the same content, so that a file may be made more explicit."""
    assert content_hash(parse_template(TEXT + "model: {top_k: 8}")) == content_hash(parse_template(TEXT))


def test_the_hash_is_pinned() -> None:
    """The hash of a given content never changes with the code: evidence and promotions rest on it."""
    expected = "82d4a1000bbd5028efee9abb6845bbb9bd9fee8e707210d9bdfce40796975b9b"
    assert content_hash(parse_template(TEXT)) == expected


def test_white_space_around_a_text_does_not_count() -> None:
    """MLflow's UI cuts it off; a copy made there is the same content."""
    spaced = TEXT.replace(
        "template: Answer {{question}} from {{passages}}.", "template: |\n  Answer {{question}} from {{passages}}.\n"
    )
    assert content_hash(parse_template(spaced)) == content_hash(parse_template(TEXT))
