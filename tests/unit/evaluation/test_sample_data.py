"""The sample data keeps what its data card says: documents, splits, evidence."""

import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest
import sample_data
from sample_data import documents, manifest, rows

from evaluation.data.make.__main__ import SAMPLE, made_files
from evaluation.relevance import squeezed
from registry.datasets import GroundTruthRow
from registry.errors import AssayError
from registry.prompts.lint import lint
from registry.prompts.schema import content_hash, load_template

TELLING = len("12345")
"""A figure with as many characters does not stand in our code by chance."""

KINDS = {
    "single-fact",
    "multi-document",
    "table-arithmetic",
    "change-over-time",
    "why",
    "outdated-figure",
    "unit-trap",
    "ambiguous",
    "unanswerable",
    "metrics-passed",
}


def test_made_files_are_the_same_bytes_again() -> None:
    """Running the makers once more gives the tables, PDFs and questions that stand in the repository."""
    made = made_files()

    assert made == made_files()
    assert [name for name, content in made.items() if (SAMPLE / name).read_bytes() != content] == []


def test_there_are_documents_of_every_kind() -> None:
    """Sixty documents at least, in five formats, for two companies and a third tiny tenant, in three languages."""
    formats = Counter(name.rpartition(".")[2] for _, name in documents())
    languages = Counter(document.fields.get("language", "en") for document in documents().values())
    traits = Counter(trait for row in manifest().values() for trait in row["traits"].split())
    tenants = Counter(tenant for tenant, _ in documents())

    assert len(documents()) >= 60
    assert all(formats[format_] >= 5 for format_ in ("md", "txt", "html", "csv", "pdf"))
    assert languages["de"] == languages["fr"] == 1
    assert traits["personal-data"] >= 3
    assert traits["superseded"] >= 5
    assert min(tenants["meridian"], tenants["fennick"]) >= 25
    assert tenants["osier"] <= 5


def test_manifest_lists_exactly_the_documents() -> None:
    """documents.csv names every ordinary document once, and nothing else."""
    assert set(manifest()) == set(documents())


def test_clusters_lie_in_one_split() -> None:
    """No cluster has documents or questions on both sides."""
    splits: dict[str, set[str]] = defaultdict(set)
    for entry in manifest().values():
        splits[entry["cluster"]].add(entry["split"])
    for row in rows():
        splits[row.cluster or row.id].add(row.split)

    assert [cluster for cluster, found in splits.items() if len(found) > 1] == []


def test_questions_are_enough_and_of_all_kinds() -> None:
    """240 questions, 80 of them by hand, 15 % without an answer, every kind on both sides."""
    by_split = {split: [row for row in rows() if row.split == split] for split in ("dev", "test")}

    assert len(rows()) >= 240
    assert sum(row.made == "hand" for row in rows()) >= 80
    assert {row.made for row in rows()} == {"hand", "script"}
    for side in by_split.values():
        assert len(side) >= 100
        assert sum(row.unanswerable for row in side) / len(side) >= 0.15
        assert {tag for row in side for tag in row.tags} >= KINDS


def test_evidence_lies_in_the_questions_own_split() -> None:
    """Split by document: a question draws only on documents of its own side."""
    crossing = [
        (row.id, quote.document)
        for row in rows()
        for quote in row.relevant
        if manifest()[row.tenant or "", quote.document]["split"] != row.split
    ]

    assert crossing == []


def test_every_quote_resolves_to_exactly_one_document() -> None:
    """A quote stands whole in a passage of the document it names, and in no other document of that tenant."""
    problems: list[tuple[str, str, list[str]]] = []
    for row in rows():
        for quote in row.relevant:
            words = squeezed(quote.quote)
            holding = [
                document.name
                for document in documents().values()
                if document.tenant == row.tenant and any(words in passage for passage in document.passages)
            ]
            if holding != [quote.document]:
                problems.append((row.id, quote.quote, holding))

    assert problems == []


def test_unanswerable_questions_have_no_evidence_and_others_do() -> None:
    """Evidence, metrics or the mark «unanswerable»: every question has one reason to be answered as it should."""
    assert [row.id for row in rows() if row.unanswerable and (row.relevant or row.reference)] == []
    answerable = [row for row in rows() if not row.unanswerable]
    assert [row.id for row in answerable if not (row.relevant or row.metrics) or not row.reference] == []


def test_planted_instructions_stand_where_the_manifest_says() -> None:
    """Three documents carry an instruction, each once; none is among the ordinary documents."""
    planted = sample_data.lines("planted/manifest.jsonl")
    root = SAMPLE / "planted"
    files = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()} - {"manifest.jsonl"}

    assert files == {f"{trap['tenant']}/{trap['document']}" for trap in planted}
    assert len(planted) == 3
    for trap in planted:
        path = root / trap["tenant"] / trap["document"]
        read = sample_data.read(trap["tenant"], trap["document"], path)
        ordinary = [d.name for d in documents().values() if any(trap["quote"] in text for text in d.passages)]
        assert sum(trap["quote"] in text for text in read.passages) == 1, trap["document"]
        assert ordinary == []


def test_personal_data_is_invented() -> None:
    """Addresses end in domains that nobody can own, and British telephone numbers lie in the range kept for fiction."""
    text = "\n".join(passage for document in documents().values() for passage in document.passages)

    domains = set(re.findall(r"[\w.]+@([\w.-]+\w)", text))
    assert domains
    assert [d for d in domains if not d.endswith((".example", "example.org", "example.net", "example.com"))] == []
    assert [n for n in re.findall(r"(?:\+44 |0)1632 \d{3} ?\d{3}", text) if not re.search(r"1632 960", n)] == []
    assert "01632 960" in text


def _values(row: GroundTruthRow) -> list[float]:
    return [figure.value for figure in row.figures]


def test_other_folders_know_nothing_of_the_samples() -> None:
    """What serves, stores and measures names no sample company, file or figure; only the sample data does."""
    stems = {path.stem for path in SAMPLE.glob("*/documents/**/*.*") if re.search(r"[a-z]-.*\d|\d.*-[a-z]", path.stem)}
    values = {value for row in rows() for value in _values(row)}
    figures = {f"{value:{comma}g}" for value in values for comma in (",.9", ".9") if len(f"{value:.9g}") >= TELLING}
    words = "|".join(map(re.escape, sorted(stems | figures)))
    names = re.compile(rf"meridian|fennick|osier|(?<![\w.])(?:{words})(?![\w.])", re.IGNORECASE)
    house = SAMPLE.parent.parent.parent
    naming = [
        path.relative_to(house).as_posix()
        for room in ("registry", "serving", "evaluation", "monitoring", "prompts", "policies")
        for path in (house / room).rglob("*")
        if path.suffix in {".py", ".yaml"} and SAMPLE.parent not in path.parents and names.search(path.read_text())
    ]

    assert naming == []


def test_no_prompt_gives_an_answer_away() -> None:
    """No sample prompt holds a figure that a question asks for."""
    figures = {f"{value:{comma}g}" for row in rows() for value in _values(row) for comma in (",.9", ".9")}
    telling = {figure for figure in figures if len(figure) >= TELLING}
    given = {
        (path.name, number)
        for path in (SAMPLE / "prompts").glob("*.yaml")
        for number in re.findall(r"\d[\d.,]*\d", path.read_text())
        if number in telling
    }
    assert given == set()


@pytest.mark.parametrize("tenant", sample_data.TENANTS)
def test_every_document_can_be_read(tenant: str) -> None:
    """Each file of a tenant loads into at least one passage."""
    root: Path = SAMPLE / tenant / "documents"
    try:
        empty = [name for (owner, name), document in documents().items() if owner == tenant and not document.passages]
    except AssayError as error:
        pytest.fail(f"{root}: {error}")
    assert empty == []


def test_sample_prompts_are_versions_of_one_prompt() -> None:
    """Two sound versions and five worse ones load, differ and pass the linter; only the long one is warned about."""
    templates = {path.stem: load_template(path) for path in (SAMPLE / "prompts").glob("*.yaml")}
    findings = {name: {finding.code for finding in lint(template)} for name, template in templates.items()}

    assert {template.name for template in templates.values()} == {"insights"}
    assert len({content_hash(template) for template in templates.values()}) == 7
    assert {name for name, found in findings.items() if found} == {"insights-too-long"}
    assert "long-section" in findings["insights-too-long"]
