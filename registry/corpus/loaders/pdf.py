# pyright: basic
# pypdf types its readers loosely; this file is its only door.
"""PDF: the text of each page, a section a page. Pictures, forms and attachments are not read, links not followed."""

import io

from pypdf import PdfReader

from registry.corpus.loaders.records import DocumentProblem, LoadedDocument, LoadLimits, Section, clean, document


def read_pdf(name: str, content: bytes, limits: LoadLimits) -> LoadedDocument:
    """The pages that hold text.

    Raises:
        DocumentProblem: encrypted, damaged, without text, or over a limit.
    """
    try:
        return _read(name, content, limits)
    except (DocumentProblem, MemoryError):
        raise
    except Exception as error:  # pypdf meets damage with any built-in error; each means the same to the reader
        raise DocumentProblem(f"is a damaged PDF ({type(error).__name__}); save it again") from error


def _read(name: str, content: bytes, limits: LoadLimits) -> LoadedDocument:
    reader = PdfReader(io.BytesIO(content), strict=False)
    if reader.is_encrypted and not reader.decrypt(""):
        raise DocumentProblem("is locked with a password; save an open copy")
    pages = len(reader.pages)
    if pages > limits.pages_max:
        raise DocumentProblem(f"has {pages} pages; the limit is {limits.pages_max}, split the file")
    sections: list[Section] = []
    chars = 0
    for number, page in enumerate(reader.pages, start=1):
        text = clean(page.extract_text()).strip()
        chars += len(text)
        if chars > limits.text_chars_max:
            raise DocumentProblem(f"holds more than {limits.text_chars_max} characters; split the file")
        if text:
            sections.append(Section(heading=f"page {number}", text=text))
    if not sections:
        raise DocumentProblem(f"has no text in its {pages} pages (a scan?); run text recognition first")
    title = (reader.metadata.title if reader.metadata else None) or ""
    return document(name, sections, title=str(title))
