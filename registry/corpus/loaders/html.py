# pyright: basic
# selectolax types its nodes loosely; this file is its only door.
"""HTML: what a reader sees, a section under each heading, tables row by row. Nothing is fetched or run."""

from selectolax.lexbor import LexborHTMLParser, LexborNode

from registry.corpus.loaders.records import LoadedDocument, Section, document, one_line
from registry.corpus.loaders.tables import row_text

HEADING_CHARS_MAX = 120
_UNSEEN = "script,style,template,noscript,iframe,object,embed,svg,canvas,form,nav,head,[hidden],[aria-hidden=true]"
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BLOCKS = {
    "p",
    "div",
    "li",
    "ul",
    "ol",
    "dl",
    "dt",
    "dd",
    "section",
    "article",
    "main",
    "blockquote",
    "pre",
    "br",
    "hr",
}


def read_html(name: str, text: str) -> LoadedDocument:
    """The visible text of a page; title from `<title>` or the first heading, language from `<html lang>`."""
    tree = LexborHTMLParser(text)
    title_node, root = tree.css_first("title"), tree.css_first("html")
    title = one_line(title_node.text(), HEADING_CHARS_MAX) if title_node else ""
    language = (root.attributes.get("lang") or "") if root else ""
    for node in tree.css(_UNSEEN):
        node.decompose()
    walk = _Walk()
    if tree.body is not None:
        walk.visit(tree.body)
    walk.close()
    return document(name, walk.sections, title=title or walk.first_heading, fields={"language": language})


class _Walk:
    """Collects text in reading order."""

    def __init__(self) -> None:
        self.sections: list[Section] = []
        self.first_heading = ""
        self._path: list[tuple[int, str]] = []
        self._parts: list[str] = []

    def visit(self, node: LexborNode) -> None:
        """Take a node's children in, however deep they stand: a page may nest more than Python may call."""
        stack = [(node.iter(include_text=True), "")]
        while stack:
            children, ending = stack[-1]
            child = next(children, None)
            tag = (child.tag or "") if child is not None else ""
            if child is None:
                stack.pop()
                self._parts.append(ending)
            elif tag == "-text":
                self._parts.append(" ".join((child.text_content or "").split("\n")))
            elif tag in _HEADINGS:
                self._open(_HEADINGS[tag], one_line(child.text(), HEADING_CHARS_MAX))
            elif tag == "table":
                self._parts.append(f"\n\n{table_text(child)}\n\n")
            elif tag in _BLOCKS:
                self._parts.append("\n" if tag in {"br", "li", "dt", "dd"} else "\n\n")
                ending = "\n" if tag == "li" else "\n\n" if tag != "br" else ""
                stack.append((child.iter(include_text=True), ending))
            else:
                stack.append((child.iter(include_text=True), ""))

    def close(self) -> None:
        """End the section that is open."""
        lines = [" ".join(line.split()) for line in "".join(self._parts).split("\n")]
        paragraphs = "\n".join(lines).split("\n\n")
        text = "\n\n".join(paragraph.strip("\n") for paragraph in paragraphs if paragraph.strip())
        heading = " > ".join(words for _, words in self._path)
        self.sections.append(Section(heading=heading, text=text))
        self._parts = []

    def _open(self, level: int, words: str) -> None:
        self.close()
        self.first_heading = self.first_heading or words
        self._path = [step for step in self._path if step[0] < level]
        if words:
            self._path.append((level, words))


def table_text(table: LexborNode) -> str:
    """A table with a header row as `column: value` lines, a blank line between rows; another one as plain lines."""
    rows = [[one_line(cell.text(), 4_000) for cell in row.css("th,td")] for row in table.css("tr")]
    rows = [row for row in rows if any(row)]
    first = table.css_first("tr")
    header = rows[0] if rows and first is not None and first.css_first("th") is not None else None
    if header is None or len(rows) == 1:
        return "\n".join(" | ".join(row) for row in rows)
    return "\n\n".join(
        row_text([column or f"column {n}" for n, column in enumerate(header, 1)], row) for row in rows[1:]
    )
