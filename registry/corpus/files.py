"""The files beneath a given path, and nothing beyond it: no link is followed, no device opened, no size trusted."""

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from registry.corpus.filters import VALUE_CHARS_MAX
from registry.corpus.loaders.formats import FORMATS, format_of
from registry.corpus.loaders.records import DocumentProblem
from registry.errors import InvalidInput

FILES_MAX: Final = 20_000


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to read: where it was found and what the document is called."""

    root: Path
    """The real directory that was given, or that holds the file that was given."""
    name: str
    """Path below the root with forward slashes; the document's name."""


@dataclass(slots=True)
class Listing:
    """What a given path holds."""

    root: Path
    whole: bool
    """True when a directory was given: then what is not here any more has vanished."""
    files: dict[str, SourceFile] = field(default_factory=dict[str, SourceFile])
    """By name."""
    skipped: dict[str, str] = field(default_factory=dict[str, str])
    """Files of types that are not read, and why."""
    refused: dict[str, str] = field(default_factory=dict[str, str])
    """Names that should have been read and cannot be, and why."""
    unread: list[str] = field(default_factory=list[str])
    """Directories that could not be listed; what was in them has not vanished."""

    def vanished(self, name: str) -> bool:
        """Whether a document of this root has no file any more."""
        if not self.whole or name in self.refused or any(name.startswith(f"{folder}/") for folder in self.unread):
            return False
        return "" not in self.unread and name not in self.files


def list_files(given: Path) -> Listing:
    """List what is beneath a path; hidden files are passed over.

    Raises:
        DocumentProblem: the path does not exist or is neither file nor directory.
        InvalidInput: more than 20,000 files.
    """
    try:
        path = given.resolve(strict=True)  # a link that a person names is meant; links found beneath it are not
    except (OSError, RuntimeError) as error:
        raise DocumentProblem("does not exist or cannot be reached") from error
    if path.is_file():
        listing = Listing(root=path.parent, whole=False)
        _sort_in(listing, path.name)
        return listing
    if not path.is_dir():
        raise DocumentProblem("is neither a file nor a directory")
    listing = Listing(root=path, whole=True)
    for count, (name, is_link) in enumerate(_walk(path, listing.unread.append)):
        if count == FILES_MAX:
            raise InvalidInput(f"{str(given)!r} holds more than {FILES_MAX} files; ingest its parts one by one")
        if is_link:
            listing.refused[name] = "is a symbolic link; links are not followed, put the file itself there"
        else:
            _sort_in(listing, name)
    for folder in listing.unread:
        listing.refused[folder or "."] = "is a directory that may not be read"
    return listing


def read_file(file: SourceFile, bytes_max: int) -> bytes:
    """A file's bytes, reached step by step from its root without following a link.

    Raises:
        DocumentProblem: a link, no ordinary file, unreadable, or too large.
    """
    *folders, last = file.name.split("/")
    if ".." in folders:
        raise DocumentProblem("cannot be read: its name leads out of the given path")
    try:
        where = os.open(file.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for folder in folders:
                below = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=where)
                os.close(where)
                where = below
            descriptor = os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=where)
        finally:
            os.close(where)
        with os.fdopen(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise DocumentProblem("is no ordinary file")
            content = stream.read(bytes_max + 1)
    except OSError as error:
        raise DocumentProblem(f"cannot be read ({error.strerror}); links are not followed") from error
    if len(content) > bytes_max:
        raise DocumentProblem(f"is larger than {bytes_max} bytes; split the file")
    return content


def _sort_in(listing: Listing, name: str) -> None:
    if not name.isprintable() or len(name) > VALUE_CHARS_MAX:
        listing.refused[name.encode(errors="replace").decode()] = "has a name that cannot be printed or is too long"
    elif format_of(name) is None:
        listing.skipped[name] = f"is of no type that is read; these are {', '.join(FORMATS)}"
    else:
        listing.files[name] = SourceFile(listing.root, name)


def _walk(root: Path, note_unread: Callable[[str], None]) -> Iterator[tuple[str, bool]]:
    """Names of files and of links beneath a directory, in order, and whether each is a link."""

    def unread(error: OSError) -> None:
        note_unread(Path(str(error.filename)).relative_to(root).as_posix().removeprefix("."))

    for folder, folders, files in os.walk(root, onerror=unread, followlinks=False):
        below = Path(folder).relative_to(root).as_posix().removeprefix(".")
        prefix = f"{below}/" if below else ""
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted([*files, *(name for name in folders if (Path(folder) / name).is_symlink())]):
            if not name.startswith("."):
                yield prefix + name, (Path(folder) / name).is_symlink()
