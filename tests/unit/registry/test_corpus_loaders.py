"""Loaders: what a reader would see, and one clear sentence for every file that is no document."""

import os
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.fake_pdf import assemble, fake_pdf
from hypothesis import given
from hypothesis import strategies as st

from registry.corpus.loaders.formats import load
from registry.corpus.loaders.process import LoaderProcess
from registry.corpus.loaders.records import DocumentProblem, LoadedDocument, LoadLimits, Section

LIMITS = LoadLimits()

MARKDOWN = """---
title: "Review of May"
date: 2026-05
kind: review
language: EN
tenant: somebody-else
---
Opening words.

# Figures

Revenue rose.

```
# not a heading
```

## Churn

It fell.

# Outlook
"""

HTML = """<!doctype html><html lang="de"><head><title>Bericht Mai</title><script>steal()</script>
<style>p {color: red}</style></head>
<body><nav>Start</nav><h1>Umsatz</h1><p>Der Umsatz <b>stieg</b>
im Mai.</p><div hidden>unsichtbar</div><ul><li>eins</li><li>zwei</li></ul>
<h2>Tabelle</h2><table><tr><th>Monat</th><th>Boxen</th></tr><tr><td>Mai</td><td>1.240</td></tr>
<tr><td>Juni</td><td>1.310</td></tr></table><img src="http://example.invalid/pixel.png"></body></html>"""


def problem_of(name: str, content: bytes | str, limits: LoadLimits = LIMITS) -> str:
    """The sentence with which a file is refused."""
    with pytest.raises(DocumentProblem) as caught:
        load(name, content.encode() if isinstance(content, str) else content, limits)
    return caught.value.message


def test_markdown_gives_front_matter_and_sections() -> None:
    """Declared fields come from the front matter, undeclared ones are dropped, headings become paths."""
    assert load("reviews/may.md", MARKDOWN.encode(), LIMITS) == LoadedDocument(
        title="Review of May",
        fields={"kind": "review", "date": "2026-05", "language": "en"},
        sections=(
            Section(heading="", text="Opening words."),
            Section(heading="Figures", text="Revenue rose.\n\n```\n# not a heading\n```"),
            Section(heading="Figures > Churn", text="It fell."),
        ),
    )


def test_a_file_without_metadata_takes_it_from_its_name() -> None:
    """Title, kind and date come from the file's name when it says nothing itself."""
    loaded = load("2026-05-31_notes.txt", b"\xef\xbb\xbfAll is well.\r\nReally.", LIMITS)
    assert loaded == LoadedDocument(
        title="2026-05-31_notes",
        fields={"kind": "txt", "date": "2026-05-31"},
        sections=(Section(text="All is well.\nReally."),),
    )


def test_html_gives_what_a_reader_sees() -> None:
    """Scripts, styles, navigation and hidden parts are left out; table rows carry their column names."""
    assert load("may.html", HTML.encode(), LIMITS) == LoadedDocument(
        title="Bericht Mai",
        fields={"kind": "html", "language": "de"},
        sections=(
            Section(heading="Umsatz", text="Der Umsatz stieg im Mai.\n\neins\n\nzwei"),
            Section(heading="Umsatz > Tabelle", text="Monat: Mai\nBoxen: 1.240\n\nMonat: Juni\nBoxen: 1.310"),
        ),
    )


def test_html_is_read_however_deep_it_is_nested() -> None:
    """Text below thousands of levels is read like any other, blocks and headings included."""
    deep = "<div>" * 5_000 + "<span>" * 5_000 + "<h2>Below</h2><p>deep <b>text</b></p>"
    loaded = load("a.html", f"<html><body><p>top</p>{deep}".encode(), LIMITS)
    assert loaded.sections == (Section(text="top"), Section(heading="Below", text="deep text"))


@pytest.mark.parametrize("head", [b"\n", b"\r\n \r\n", b"\n\n\n", b";;\n", b"\t\n"])
def test_a_csv_may_begin_with_blank_lines(head: bytes) -> None:
    """Blank lines above the header are passed over, as those between rows are."""
    loaded = load("sales.csv", head + b"month;revenue;note\n2026-05;1240;\n", LIMITS)
    assert loaded.sections[0].text == "month: 2026-05\nrevenue: 1240"


def test_a_csv_row_carries_its_header() -> None:
    """Every row becomes `column: value` lines, whatever the delimiter and the quoting."""
    loaded = load("sales.csv", b'month;revenue;note\n2026-05;"1;240";\n\n2026-06;1310;"two\nlines"\n', LIMITS)
    assert [section.text for section in loaded.sections] == [
        "month: 2026-05\nrevenue: 1;240\n\nmonth: 2026-06\nrevenue: 1310\nnote: two lines"
    ]


def test_a_pdf_gives_a_section_a_page() -> None:
    """Pages with text become sections, the title comes from the PDF."""
    loaded = load("board.pdf", fake_pdf(["Revenue rose.", "", "Churn fell."], title="Minutes"), LIMITS)
    assert loaded == LoadedDocument(
        title="Minutes",
        fields={"kind": "pdf"},
        sections=(Section(heading="page 1", text="Revenue rose."), Section(heading="page 3", text="Churn fell.")),
    )


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.docx", b"PK\x03\x04", "is of no type that is read"),
        ("a", b"text", "is of no type that is read"),
        ("a.txt", b"", "is empty"),
        ("a.md", b" \n\t", "is empty"),
        ("a.md", b"# Only a heading that is no text\n---\n", None),
        ("a.txt", fake_pdf(["x"]), "it looks like a PDF"),
        ("a.csv", b"PK\x03\x04rest", "it looks like a ZIP or Office file"),
        ("a.pdf", b"<html><body>no</body></html>", "is not a PDF, though its name says so"),
        ("a.pdf", b"\x89PNG\r\n\x1a\n", "it looks like a PNG image"),
        ("a.html", b"just words", "it holds no tag"),
        ("a.md", b"<!DOCTYPE html><html><p>x</p></html>", "is HTML, though its name says md"),
        ("a.txt", bytes(range(256)) * 4, "is not UTF-8 text"),
        ("a.txt", b"\x00\x01\x02\x03" * 100 + b"abc", "it holds binary data"),
        ("a.txt", "Stra\u00dfe".encode("latin-1"), "save it as UTF-8"),
        ("a.csv", b"a,b\n1,2\n1,2,3\n", "line 3 has 3 fields, the header has 2"),
        ("a.csv", b'a,b\n1,"2\n', "is a broken CSV: line 2"),
        ("a.csv", b"a,,c\n1,2,3\n", "column 2 has no name"),
        ("a.csv", b"a,b,a\n1,2,3\n", "two columns are named 'a'"),
        ("a.csv", b"a,b\n", "holds a header and no rows"),
        ("a.csv", b",,\n,\n", "holds no row"),
        ("a.md", b"---\ndate: last May\n---\nText.", "its date 'last May' is not YYYY"),
        ("a.html", b"<html><body><script>x()</script></body></html>", "holds no text"),
        ("a.pdf", fake_pdf(["", ""]), "has no text in its 2 pages"),
        ("a.pdf", b"%PDF-1.4\n" + b"garbage " * 50, "is a damaged PDF"),
    ],
)
def test_a_file_that_is_no_document_is_refused_with_its_reason(name: str, content: bytes, sentence: str | None) -> None:
    """Wrong type, disguise, damage and emptiness each have their own sentence."""
    if sentence is None:
        assert load(name, content, LIMITS).sections
    else:
        assert sentence in problem_of(name, content)


def test_every_limit_refuses_by_name() -> None:
    """Characters and pages over the limit are refused before they cost more."""
    assert "the limit is 10, split" in problem_of("a.txt", "x" * 11, replace(LIMITS, text_chars_max=10))
    assert "the limit is 2, split" in problem_of("a.pdf", fake_pdf(["a", "b", "c"]), replace(LIMITS, pages_max=2))
    assert "more than 10 characters" in problem_of("a.pdf", fake_pdf(["x" * 11]), replace(LIMITS, text_chars_max=10))


@given(st.sampled_from(["md", "txt", "html", "csv", "pdf"]), st.binary(max_size=300))
def test_no_bytes_bring_a_loader_down(suffix: str, content: bytes) -> None:
    """Any bytes under any name give a document or a DocumentProblem, nothing else."""
    try:
        loaded = load(f"a.{suffix}", content, LIMITS)
    except DocumentProblem:
        return
    assert any(section.text.strip() for section in loaded.sections)


async def test_the_worker_reads_one_file_after_another() -> None:
    """Documents and problems come back through the pipe, in order, from one process."""
    async with LoaderProcess(LIMITS) as loader:
        first = await loader.load("a.md", b"# Hello\n\nWorld.")
        with pytest.raises(DocumentProblem, match="is empty"):
            await loader.load("b.md", b"")
        assert first.sections == (Section(heading="Hello", text="World."),)
        assert (await loader.load("c.txt", "Ü".encode())).sections[0].text == "Ü"


async def test_a_worker_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    """After the time limit its process is gone."""
    script = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)"
    noted = tmp_path / "pid"
    async with LoaderProcess(replace(LIMITS, seconds_max=1), (sys.executable, "-c", script, str(noted))) as loader:
        with pytest.raises(DocumentProblem, match=r"took longer than 1 s"):
            await loader.load("a.txt", b"x")
    with pytest.raises(ProcessLookupError):
        os.kill(int(noted.read_text()), 0)


async def test_a_worker_that_dies_costs_one_file() -> None:
    """A reader that crashes is a line of the report."""
    dying = (sys.executable, "-c", "import os; os.abort()")
    async with LoaderProcess(LIMITS, dying) as loader:
        with pytest.raises(DocumentProblem, match="brought its reader down"):
            await loader.load("a.txt", b"x")


async def test_a_packed_bomb_is_refused() -> None:
    """A PDF page of 100 kB that unpacks to 100 MB is refused."""
    packed = zlib.compress(bytes(100_000_000))
    page = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 4 0 R >>"
    stream = b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(packed), packed)
    pages = b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>"
    async with LoaderProcess(LIMITS) as loader:
        with pytest.raises(DocumentProblem):
            await loader.load(
                "bomb.pdf", assemble([b"<< /Type /Catalog /Pages 2 0 R >>", pages, page, stream, b"<< >>"])
            )


async def test_memory_is_bounded_whatever_the_format() -> None:
    """A file that needs more memory than its limit is refused, and the next one is read."""
    async with LoaderProcess(replace(LIMITS, memory_bytes_max=200_000_000)) as loader:
        with pytest.raises(DocumentProblem, match="needs more than 200 MB"):
            await loader.load("a.csv", "ü,b\n".encode() * 15_000_000)
        assert (await loader.load("a.txt", b"fine")).sections[0].text == "fine"


async def test_the_worker_has_no_secrets_and_writes_no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reading process starts without our environment."""
    monkeypatch.setenv("QDRANT_API_KEY", "planted-secret")
    telltale = (
        "import os,struct,json,sys;"
        "a=json.dumps({'problem': ' '.join(sorted(os.environ))}).encode();"
        "sys.stdout.buffer.write(struct.pack('>I',len(a))+a)"
    )
    async with LoaderProcess(LIMITS, (sys.executable, "-c", telltale)) as loader:
        with pytest.raises(DocumentProblem) as caught:
            await loader.load("a.txt", b"x")
    assert "QDRANT_API_KEY" not in caught.value.message
    assert "PYTHONUTF8" in caught.value.message
