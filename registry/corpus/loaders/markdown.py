"""Markdown and plain text: front matter, then a section under each heading."""

import re

from registry.corpus.loaders.records import FIELDS, LoadedDocument, Section, document, one_line

HEADING_CHARS_MAX = 120
FRONT_MATTER_CHARS_MAX = 4_000
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_HEADING = re.compile(r"(#{1,6})[ \t]+(.+?)[ \t]*#*[ \t]*")
_FENCE = re.compile(r"[ ]{0,3}(`{3,}|~{3,})")


def read_text(name: str, text: str) -> LoadedDocument:
    """Plain text: one section; its title is the file's name."""
    return document(name, [Section(text=text)])


def read_markdown(name: str, text: str) -> LoadedDocument:
    """Markdown: `title`, `date`, `kind`, `language` from the front matter, a section under each heading."""
    front, body = split_front_matter(text)
    sections, first_heading = _sections(body)
    fields = {field: front[field] for field in FIELDS if field in front}
    return document(name, sections, title=front.get("title") or first_heading, fields=fields)


def split_front_matter(text: str) -> tuple[dict[str, str], str]:
    """The `key: value` lines between two lines of dashes at the very top, and what follows.

    Only flat text values are read; it is deliberately less than YAML, so nothing in it can be executed or grow.
    """
    found = _FRONT_MATTER.match(text)
    if not found or len(found.group(1)) > FRONT_MATTER_CHARS_MAX:
        return {}, text
    values: dict[str, str] = {}
    for line in found.group(1).splitlines():
        key, colon, value = line.partition(":")
        if colon and key == key.strip():
            values[key.lower()] = _unquoted(value.strip())
    return values, text[found.end() :]


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value


def _sections(body: str) -> tuple[list[Section], str]:
    """Sections in order, and the first heading; a heading's line stands in its section's path, not in its text."""
    path: list[tuple[int, str]] = []
    sections: list[Section] = []
    lines: list[str] = []
    first, fence = "", ""
    for line in body.split("\n"):
        mark = _FENCE.match(line)
        if mark and (not fence or mark.group(1).startswith(fence)):
            fence = "" if fence else mark.group(1)
        heading = None if fence or mark else _HEADING.fullmatch(line)
        if heading is None:
            lines.append(line)
            continue
        sections.append(_section(path, lines))
        lines = []
        level, words = len(heading.group(1)), one_line(heading.group(2), HEADING_CHARS_MAX)
        first = first or words
        path = [step for step in path if step[0] < level]
        path.append((level, words))
    sections.append(_section(path, lines))
    if not any(section.text for section in sections):
        return [Section(text=body)], first
    return sections, first


def _section(path: list[tuple[int, str]], lines: list[str]) -> Section:
    return Section(heading=" > ".join(words for _, words in path), text="\n".join(lines).strip())
