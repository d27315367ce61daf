"""Documents to passages: never across a heading, never longer than the embedder reads, words unchanged.

Ingest only: langchain's splitters take half a second to import, and serving never needs them.
"""

from typing import Final

from langchain_text_splitters import RecursiveCharacterTextSplitter

from registry.corpus.loaders.records import LoadedDocument, Section, one_line
from registry.embedding import Embedder

TOKENS: Final = 190
"""Word pieces of a passage's own text; with its context line it stays under the embedder's 256."""
OVERLAP_TOKENS: Final = 30
CONTEXT_CHARS_MAX: Final = 160
CONTEXT_TOKENS_MAX: Final = 60
CHARS_PER_TOKEN: Final = 8
"""A floor for what the tokenizer sees as one unknown word, e.g. a kilobyte of base64."""
SPLITTER: Final = f"sections-{TOKENS}-{OVERLAP_TOKENS}/1"
"""Stored with each document; raise its last number when passages change, and documents are split anew."""
PASSAGES_MAX: Final = 5_000

# Paragraphs, then sentences, lines, words, characters.
_SEPARATORS: Final = [r"\n\n+", r"(?<=[.!?…])\s+|(?<=[\u3002\uff01\uff1f])", r"\n", " ", ""]


class Splitter:
    """Cuts documents into passages. Each begins with a line that says where it stands: title > headings."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._cutter = RecursiveCharacterTextSplitter(
            separators=_SEPARATORS,
            is_separator_regex=True,
            keep_separator="end",
            chunk_size=TOKENS,
            chunk_overlap=OVERLAP_TOKENS,
            length_function=self._length,
        )

    def split(self, loaded: LoadedDocument) -> list[str]:
        """The texts of the passages, in order."""
        return [
            f"{self._context(loaded.title, section)}\n\n{piece}"
            for section in loaded.sections
            for piece in self._cutter.split_text(section.text)
            if any(character.isalnum() for character in piece)
        ]

    def _length(self, text: str) -> int:
        return max(self._embedder.count_tokens(text), len(text) // CHARS_PER_TOKEN)

    def _context(self, title: str, section: Section) -> str:
        """Title and headings on one line; a first heading that repeats the title is not said twice."""
        first, _, rest = section.heading.partition(" > ")
        heading = rest if first.casefold() == title.casefold() else section.heading
        line = one_line(f"{title} > {heading}" if heading else title, CONTEXT_CHARS_MAX)
        while self._embedder.count_tokens(line) > CONTEXT_TOKENS_MAX:
            line = line[: len(line) * 3 // 4]
        return line
