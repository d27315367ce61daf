"""Who wrote which content, kept by either database."""

import pytest
from fakes.fake_clock import FakeClock
from sqlalchemy import select

from registry.database import Database
from registry.prompts.authorship import remember_author
from registry.prompts.promoted import PromptHashes
from registry.prompts.schema import PromptTemplate, content_hash
from registry.prompts.versions import PromotedVersion
from registry.schema import prompt_hashes

pytestmark = pytest.mark.contract


def written(text: str) -> PromotedVersion:
    """Version 1 of a prompt with this wording."""
    template = PromptTemplate(name="brief", use_case="brief", owner="platform", template=text, variables={})
    return PromotedVersion(name="brief", version=1, alias="", template=template, content_hash=content_hash(template))


def author(registry: Database) -> tuple[str, str | None]:
    """Content hash and author of version 1."""
    with registry.read() as connection:
        row = connection.execute(select(prompt_hashes.c.content_hash, prompt_hashes.c.author)).one()
    return row.content_hash, row.author


def test_the_author_is_kept_with_the_content(registry: Database) -> None:
    """A version just created has a known content and author, and counts as unchanged."""
    remember_author(registry, written("Hello."), "ada", FakeClock())
    assert author(registry) == (written("Hello.").content_hash, "ada")
    PromptHashes(registry).require_unchanged(written("Hello."))


def test_a_reader_may_be_quicker(registry: Database) -> None:
    """Whoever saw the version in the moment before leaves its author to be filled in."""
    PromptHashes(registry).require_unchanged(written("Hello."))
    remember_author(registry, written("Hello."), "ada")
    assert author(registry)[1] == "ada"


def test_a_number_used_again_takes_the_new_content(registry: Database) -> None:
    """A prompt that was deleted and made anew begins with version 1, which is not the old one changed."""
    remember_author(registry, written("Hello."), "ada")
    remember_author(registry, written("Good day."), "bob")
    assert author(registry) == (written("Good day.").content_hash, "bob")
    PromptHashes(registry).require_unchanged(written("Good day."))


@pytest.mark.parametrize(("second", "kept"), [("ada", "ada"), ("bob", None), (None, None)])
def test_the_same_content_does_not_change_hands(registry: Database, second: str | None, kept: str | None) -> None:
    """Who deletes a prompt and has somebody else write it again does not become free to approve it."""
    remember_author(registry, written("Hello."), "ada")
    remember_author(registry, written("Hello."), second)
    assert author(registry)[1] == kept
