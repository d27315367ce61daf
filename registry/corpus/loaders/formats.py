"""Is a file what its name says? Then the reader for it."""

import re
from collections.abc import Callable
from typing import Final

from registry.corpus.loaders.records import DocumentProblem, LoadedDocument, LoadLimits, clean

FORMATS: Final = ("csv", "htm", "html", "markdown", "md", "pdf", "txt")

_SIGNATURES: Final[tuple[tuple[bytes, str], ...]] = (
    (b"%PDF-", "a PDF"),
    (b"PK\x03\x04", "a ZIP or Office file"),
    (b"\xd0\xcf\x11\xe0", "an old Office file"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90", "a program"),
    (b"SQLite format 3", "a database"),
    (b"{\\rtf", "an RTF file"),
)
_HTML = re.compile(
    r"<(?:!doctype\s+html|html|head|body|div|p|table|h[1-6]|ul|ol|article|section)\b[^>]*>", re.IGNORECASE
)
_HTML_START = re.compile(r"\s*<(?:!doctype\s+html|html)\b", re.IGNORECASE)
_BINARY_SHARE_MAX = 0.01
_PDF_HEADER_WITHIN = 1024


def format_of(name: str) -> str | None:
    """The format that a file's name claims; None when it is none of ours."""
    suffix = name.rpartition(".")[2].lower() if "." in name else ""
    return suffix if suffix in FORMATS else None


def load(name: str, content: bytes, limits: LoadLimits) -> LoadedDocument:
    """Read one file's bytes.

    Raises:
        DocumentProblem: not what its name says, broken, empty, or over a limit.
    """
    claimed = format_of(name)
    if claimed is None:
        raise DocumentProblem(f"is of no type that is read; these are {', '.join(FORMATS)}")
    if not content.strip():
        raise DocumentProblem("is empty")
    if claimed == "pdf":
        loaded = _load_pdf(name, content, limits)
    else:
        text = _decode(content, claimed)
        if len(text) > limits.text_chars_max:
            raise DocumentProblem(f"holds {len(text)} characters; the limit is {limits.text_chars_max}, split the file")
        loaded = _text_reader(claimed, text)(name, text)
    if sum(len(section.text) for section in loaded.sections) > limits.text_chars_max:
        raise DocumentProblem(f"grows past {limits.text_chars_max} characters when it is read; split the file")
    return loaded


def _load_pdf(name: str, content: bytes, limits: LoadLimits) -> LoadedDocument:
    if b"%PDF-" not in content[:_PDF_HEADER_WITHIN]:
        raise DocumentProblem(f"is not a PDF, though its name says so{_looks_like(content)}")
    from registry.corpus.loaders.pdf import read_pdf  # noqa: PLC0415 - half a second that other formats need not wait

    return read_pdf(name, content, limits)


def _text_reader(claimed: str, text: str) -> Callable[[str, str], LoadedDocument]:
    """The reader for a text format, imported only when it is needed: the worker starts in a blink."""
    if claimed in {"html", "htm"}:
        if not _HTML.search(text):
            raise DocumentProblem("is not HTML, though its name says so: it holds no tag")
        from registry.corpus.loaders.html import read_html  # noqa: PLC0415 - as the docstring says

        return read_html
    if _HTML_START.match(text):
        raise DocumentProblem(f"is HTML, though its name says {claimed}; rename it")
    if claimed == "csv":
        from registry.corpus.loaders.tables import read_csv  # noqa: PLC0415 - as the docstring says

        return read_csv
    from registry.corpus.loaders.markdown import read_markdown, read_text  # noqa: PLC0415 - as the docstring says

    return read_text if claimed == "txt" else read_markdown


def _decode(content: bytes, claimed: str) -> str:
    known = _looks_like(content)
    if known:
        raise DocumentProblem(f"is not {claimed}, though its name says so{known}")
    utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = content.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DocumentProblem(f"is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    cleaned = clean(text)
    if len(text) - len(cleaned) - text.count("\r\n") > max(1, _BINARY_SHARE_MAX * len(text)):
        raise DocumentProblem(f"is not {claimed}, though its name says so: it holds binary data")
    if not cleaned.strip():
        raise DocumentProblem("is empty")
    return cleaned


def _looks_like(content: bytes) -> str:
    for signature, kind in _SIGNATURES:
        if content.startswith(signature):
            return f": it looks like {kind}"
    return ""
