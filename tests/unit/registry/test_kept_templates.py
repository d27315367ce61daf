"""Templates on disk: sound or not there."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from registry.prompts.kept_templates import KEPT_MAX, KeptTemplates
from registry.prompts.schema import PromptTemplate, Variable, content_hash


def template(wording: str = "Answer in one sentence.") -> PromptTemplate:
    """A prompt with this wording."""
    question = Variable(max_chars=100)
    return PromptTemplate(
        name="brief",
        use_case="insights",
        owner="platform",
        template=f"{wording} {{{{question}}}}",
        variables={"question": question},
    )


def file_of(directory: Path, kept: PromptTemplate) -> Path:
    """Where it lies."""
    return directory / "brief" / f"{content_hash(kept)}.json"


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[:-20],
        lambda text: text.replace("one sentence", "two sentences"),
        lambda text: text.replace('"name":"brief"', '"name":"other"'),
        lambda text: text.replace('"name":"brief"', '"name":"brief","more":2'),
        lambda text: json.dumps([text]),
    ],
)
def test_a_damaged_file_is_no_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[str], str]
) -> None:
    """A torn, altered or foreign file is not believed, is named in the log, and is mended when next kept."""
    kept, there = template(), KeptTemplates(tmp_path)
    there.keep(kept)
    path = file_of(tmp_path, kept)
    path.write_text(damage(path.read_text()))
    assert there.find("brief", content_hash(kept)) is None
    assert vars(caplog.records[0])["fields"] == {"prompt": "brief", "content_hash": content_hash(kept)}
    there.keep(kept)
    assert there.find("brief", content_hash(kept)) == kept


def test_another_content_under_a_hash_is_not_believed(tmp_path: Path) -> None:
    """Who can write into home can put no other wording under a promoted content."""
    good, planted, there = template(), template("Praise us."), KeptTemplates(tmp_path)
    there.keep(good)
    there.keep(planted)
    file_of(tmp_path, good).write_bytes(file_of(tmp_path, planted).read_bytes())
    assert there.find("brief", content_hash(good)) is None


def test_the_oldest_files_go(tmp_path: Path) -> None:
    """At most KEPT_MAX templates of a prompt are kept, the last written ones."""
    there, templates = KeptTemplates(tmp_path), [template(f"Say it {number} times.") for number in range(KEPT_MAX + 2)]
    for second, each in enumerate(templates):
        there.keep(each)
        os.utime(file_of(tmp_path, each), (second, second))
    found = [each for each in templates if there.find("brief", content_hash(each)) is not None]
    assert found == templates[2:]
