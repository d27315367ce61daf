"""Files beneath a given path, and nothing beyond it."""

import os
from pathlib import Path
from typing import Any

import pytest

from registry.corpus import files
from registry.corpus.files import SourceFile, list_files, read_file
from registry.corpus.loaders.records import DocumentProblem
from registry.errors import InvalidInput


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory with documents, other files, links and things that are no files; a secret stands outside."""
    (tmp_path / "secret.md").write_text("secret")
    root = tmp_path / "docs"
    (root / "sub").mkdir(parents=True)
    (root / ".git").mkdir()
    (root / ".git" / "config.txt").write_text("hidden")
    (root / "a.md").write_text("a")
    (root / "sub" / "b.CSV").write_text("b")
    (root / "picture.png").write_text("p")
    (root / "link.md").symlink_to(tmp_path / "secret.md")
    (root / "out").symlink_to(tmp_path)
    os.mkfifo(root / "pipe.txt")
    return root


def test_a_directory_is_sorted_into_files_skipped_and_refused(root: Path) -> None:
    """Names are relative with forward slashes; hidden files are passed over; links are refused by name."""
    listing = list_files(root)
    assert list(listing.files) == ["a.md", "pipe.txt", "sub/b.CSV"]
    assert list(listing.skipped) == ["picture.png"]
    assert set(listing.refused) == {"link.md", "out"}
    assert all("symbolic link" in problem for problem in listing.refused.values())
    assert listing.whole


def test_a_single_file_is_named_by_its_last_part(root: Path) -> None:
    """Giving a file says nothing about what else its directory holds."""
    listing = list_files(root / "sub" / "b.CSV")
    assert list(listing.files) == ["b.CSV"]
    assert not listing.vanished("anything.md")


def test_what_was_there_and_is_not_has_vanished(root: Path) -> None:
    """Only a document that a complete listing no longer shows has vanished."""
    listing = list_files(root)
    listing.unread.append("closed")
    names = ("gone.md", "a.md", "link.md", "closed/x.md", "picture.png")
    assert [name for name in names if listing.vanished(name)] == ["gone.md", "picture.png"]


def test_a_directory_that_cannot_be_listed_is_reported(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stood in it has not vanished, and the report names it."""
    walk = os.walk

    def denied(top: Path, onerror: Any, **options: Any) -> Any:
        yield from walk(top, onerror=onerror, **options)
        onerror(PermissionError(13, "Permission denied", str(root / "closed")))

    monkeypatch.setattr(os, "walk", denied)
    listing = list_files(root)
    assert listing.refused["closed"] == "is a directory that may not be read"
    assert not listing.vanished("closed/x.md")


@pytest.mark.parametrize("name", ["link.md", "out/secret.md", "../secret.md", "missing.md"])
def test_no_link_leads_out(root: Path, name: str) -> None:
    """A link in any step of the way is not followed, even when it appears after the listing."""
    with pytest.raises(DocumentProblem, match=r"cannot be read|links are not followed"):
        read_file(SourceFile(root, name), 100)


def test_a_pipe_is_no_file(root: Path) -> None:
    """A pipe neither blocks nor is read."""
    with pytest.raises(DocumentProblem, match="no ordinary file"):
        read_file(SourceFile(root, "pipe.txt"), 100)


def test_a_large_file_is_refused_after_its_limit(root: Path) -> None:
    """Not a byte more than the limit, and one, is read."""
    (root / "a.md").write_bytes(b"x" * 101)
    with pytest.raises(DocumentProblem, match="larger than 100 bytes"):
        read_file(SourceFile(root, "a.md"), 100)
    assert len(read_file(SourceFile(root, "a.md"), 101)) == 101


def test_a_missing_path_has_a_sentence(tmp_path: Path) -> None:
    """A path that is not there is a problem with that path."""
    with pytest.raises(DocumentProblem, match="does not exist"):
        list_files(tmp_path / "nowhere")


def test_a_name_that_cannot_be_printed_is_refused(tmp_path: Path) -> None:
    """Control characters in names reach neither terminal nor record."""
    (tmp_path / "a\x1b[2J.md").write_text("x")
    listing = list_files(tmp_path)
    assert not listing.files
    assert len(listing.refused) == 1


def test_the_number_of_files_is_bounded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path with too many files is refused as a whole, with what to do."""
    monkeypatch.setattr(files, "FILES_MAX", 2)
    with pytest.raises(InvalidInput, match="more than 2 files; ingest its parts"):
        list_files(root)
