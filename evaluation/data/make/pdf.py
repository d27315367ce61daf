"""Writes plain text as a PDF, the same bytes every time: one standard font, no compression, no dates, no ids."""

import textwrap
from collections.abc import Iterable

LINE_CHARS = 92
PAGE_LINES = 54
_FONT_SIZE, _LEADING = 10, 13
_LEFT, _TOP = 56, 786
_A4 = "[0 0 595 842]"


def pdf(text: str, title: str) -> bytes:
    """Return an A4 document of the text; a blank line starts a paragraph, lines in one are joined and wrapped.

    A paragraph whose lines start with two blanks keeps its lines. Characters outside Windows-1252 are refused with a
    UnicodeEncodeError.
    """
    pages = _pages(list(_lines(text)))
    objects: list[bytes] = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Count %d /Kids [%s] >>"
        % (len(pages), b" ".join(b"%d 0 R" % (5 + 2 * number) for number in range(len(pages)))),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        b"<< /Title %s >>" % _string(title),
    ]
    for number, page in enumerate(pages):
        stream = _stream(page)
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox %s /Resources << /Font << /F1 3 0 R >> >> /Contents %d 0 R >>"
            % (_A4.encode(), 6 + 2 * number)
        )
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
    return _file(objects)


def _lines(text: str) -> Iterable[str]:
    for paragraph in text.strip().split("\n\n"):
        if paragraph.startswith("  "):
            yield from paragraph.splitlines()
        else:
            yield from textwrap.wrap(" ".join(paragraph.split()), LINE_CHARS)
        yield ""


def _pages(lines: list[str]) -> list[list[str]]:
    return [lines[start : start + PAGE_LINES] for start in range(0, len(lines), PAGE_LINES)]


def _stream(lines: list[str]) -> bytes:
    shown = b"\n".join(b"%s Tj T*" % _string(line) for line in lines)
    return b"BT\n/F1 %d Tf\n%d TL\n%d %d Td\n%s\nET" % (_FONT_SIZE, _LEADING, _LEFT, _TOP, shown)


def _string(text: str) -> bytes:
    raw = text.encode("cp1252")
    return b"(" + raw.replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)") + b")"


def _file(objects: list[bytes]) -> bytes:
    out = bytearray(b"%PDF-1.4\n")
    starts: list[int] = []
    for number, body in enumerate(objects, start=1):
        starts.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % start for start in starts)
    out += b"trailer\n<< /Size %d /Root 1 0 R /Info 4 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, table)
    return bytes(out)
