"""Ground truth is checked when it comes in and found again by its content."""

import json
from pathlib import Path
from typing import Any

import pytest

from registry.datasets import DatasetChanged, DatasetNotFound, Datasets, read_rows
from registry.errors import InvalidInput

ROW: dict[str, Any] = {
    "id": "q-1",
    "question": "How many boxes?",
    "split": "dev",
    "tenant": "acme",
    "relevant": [{"document": "a.md", "quote": "12 boxes", "grade": 3}],
    "figures": [{"value": 12, "unit": "count", "tolerance": 0}],
}


def written(path: Path, *rows: dict[str, Any] | str) -> Path:
    """A JSON Lines file of these rows."""
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


def test_a_row_is_read_whole(tmp_path: Path) -> None:
    """Question, evidence and figures come back as they were written."""
    [row] = read_rows(written(tmp_path / "d.jsonl", ROW, ""))
    assert row.model_dump(exclude_defaults=True, mode="json") == {
        **ROW,
        "figures": [{"value": 12.0, "unit": "count"}],
    }


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({**ROW, "id": "q-2", "split": "train"}, "line 3: split:"),
        ({**ROW, "id": "q-2", "surprise": 1}, "line 3: surprise:"),
        ("{not json", "line 3: "),
        (ROW, "line 3: id 'q-1' stands on line 1 already"),
        ({**ROW, "id": "q-2", "unanswerable": True}, "line 3: .*cannot expect figures"),
        ({**ROW, "id": "q-2", "relevant": [{"document": "a.md", "quote": " "}]}, "line 3: relevant.0.quote"),
    ],
)
def test_a_broken_row_is_named_by_its_line(tmp_path: Path, broken: dict[str, Any] | str, message: str) -> None:
    """The error says on which line of which file what is wrong."""
    with pytest.raises(InvalidInput, match=rf"d\.jsonl: {message}"):
        read_rows(written(tmp_path / "d.jsonl", ROW, "", broken))


def test_many_problems_are_cut_short(tmp_path: Path) -> None:
    """A wholly wrong file shows ten problems and counts the rest."""
    with pytest.raises(InvalidInput, match=r"\(and 5 more\)$"):
        read_rows(written(tmp_path / "d.jsonl", *["[]"] * 15))


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xff\xfe{"])
def test_a_file_without_rows_is_refused(tmp_path: Path, content: bytes) -> None:
    """An empty file or one that is not UTF-8 is a clear error."""
    (tmp_path / "d.jsonl").write_bytes(content)
    with pytest.raises(InvalidInput, match=r"d\.jsonl"):
        read_rows(tmp_path / "d.jsonl")


def test_the_same_rows_have_the_same_hash(tmp_path: Path) -> None:
    """Order of members and spelled-out defaults do not change a dataset's identity."""
    datasets = Datasets(tmp_path)
    plain = datasets.add("d", read_rows(written(tmp_path / "a.jsonl", ROW)))
    spelled = datasets.add("d", read_rows(written(tmp_path / "b.jsonl", {"tags": [], **dict(reversed(ROW.items()))})))
    assert plain.sha256 == spelled.sha256
    assert [info.name for info in datasets.list()] == ["d"]


def test_an_earlier_version_is_found_by_its_hash(tmp_path: Path) -> None:
    """A name gives what was imported last; name and hash give any version."""
    datasets = Datasets(tmp_path)
    first = datasets.add("d", read_rows(written(tmp_path / "a.jsonl", ROW)))
    second = datasets.add("d", read_rows(written(tmp_path / "b.jsonl", {**ROW, "question": "How few?"})))
    assert datasets.get("d").info.sha256 == second.sha256
    assert datasets.get(f"d@{first.sha256[:12]}").rows[0].question == "How many boxes?"


@pytest.mark.parametrize("reference", ["d", "d@ab", "other"])
def test_an_unknown_dataset_says_how_to_get_one(tmp_path: Path, reference: str) -> None:
    """Asking for what was never imported points at the import command."""
    with pytest.raises(DatasetNotFound, match="assay datasets import"):
        Datasets(tmp_path).get(reference)


@pytest.mark.parametrize("name", ["../evil", "Upper", "", "a/b"])
def test_a_name_cannot_leave_home(tmp_path: Path, name: str) -> None:
    """A name that is not an identifier is refused before any path is made of it."""
    with pytest.raises(InvalidInput, match="cannot name a dataset"):
        Datasets(tmp_path).get(name)


def test_a_changed_file_is_noticed(tmp_path: Path) -> None:
    """Rows edited in home after the import are refused."""
    datasets = Datasets(tmp_path)
    info = datasets.add("d", read_rows(written(tmp_path / "a.jsonl", ROW)))
    stored = tmp_path / "datasets" / "d" / f"{info.sha256}.jsonl"
    stored.write_text(stored.read_text().replace("boxes", "crates"))
    with pytest.raises(DatasetChanged):
        datasets.get("d")


def test_rows_are_selected_by_split_and_tenant(tmp_path: Path) -> None:
    """A tenant gets its own rows and those of nobody in particular, of the split asked for."""
    rows = [
        ROW,
        {**ROW, "id": "q-2", "tenant": "other"},
        {**ROW, "id": "q-3", "split": "test"},
        {k: v for k, v in ROW.items() if k != "tenant"} | {"id": "q-4"},
    ]
    datasets = Datasets(tmp_path)
    datasets.add("d", read_rows(written(tmp_path / "a.jsonl", *rows)))
    dataset = datasets.get("d")
    assert [row.id for row in dataset.select("dev", "acme")] == ["q-1", "q-4"]
    assert [row.id for row in dataset.select(None, "acme")] == ["q-1", "q-3", "q-4"]
