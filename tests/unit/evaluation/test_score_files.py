"""Files are read as their formats say, and a wrong line is named."""

import math
from pathlib import Path

import pytest

from evaluation.score_files import pair_scores, read_qrels, read_run, read_scores
from registry.errors import InvalidInput


def file(path: Path, text: str) -> Path:
    """A file of this text."""
    path.write_text(text, encoding="utf-8")
    return path


def test_trec_files_are_read(tmp_path: Path) -> None:
    """Any white space parts the fields, blank lines are skipped, the rank is ignored."""
    assert read_qrels(file(tmp_path / "q", "1 0 a 2\n\n1\t0\tb\t-1\n")) == {"1": {"a": 2, "b": -1}}
    assert read_run(file(tmp_path / "r", "1 Q0 a 9 0.5 x\n1 Q0 b 1 1e-3 x\n")) == {"1": {"a": 0.5, "b": 0.001}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 Q0 a 1 0.5", "line 1 has 5 fields"),
        ("1 Q0 a 1 high x", "line 1 has score 'high'"),
        ("1 Q0 a 1 1 x\n1 Q0 a 2 2 x", "line 2 repeats document 'a' of query '1'"),
    ],
)
def test_a_wrong_line_of_a_run_is_named(tmp_path: Path, text: str, message: str) -> None:
    """File and line of the first problem stand in the error."""
    with pytest.raises(InvalidInput, match=message):
        read_run(file(tmp_path / "r", text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "line 1 is not JSON"),
        ('{"id": "a"}', "line 1 wants an object"),
        ('{"id": "a", "score": "1"}', "line 1 has score '1'"),
        ('{"id": "a", "score": NaN}', "line 1 has score nan"),
        ('{"id": "a", "score": 1}\n{"id": "a", "score": 1}', "line 2 repeats id 'a'"),
        ("", "has no rows"),
    ],
)
def test_a_wrong_row_of_scores_is_named(tmp_path: Path, text: str, message: str) -> None:
    """Scores that are missing, no numbers or given twice are refused."""
    with pytest.raises(InvalidInput, match=message):
        read_scores(file(tmp_path / "s", text))


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    """A path that does not exist is an error of ours, not a traceback."""
    with pytest.raises(InvalidInput, match="cannot read"):
        read_qrels(tmp_path / "nowhere")


def test_scores_are_paired_by_id(tmp_path: Path) -> None:
    """Order does not matter, a cluster may stand on one side, and an unscored pair is left out and counted."""
    before = read_scores(
        file(tmp_path / "a", "\n".join(f'{{"id": {n}, "score": {n % 2}, "cluster": "c"}}' for n in range(30)))
    )
    after = read_scores(
        file(
            tmp_path / "b", "\n".join(f'{{"id": {n}, "score": {"null" if n == 7 else 1}}}' for n in reversed(range(30)))
        )
    )
    pairs = pair_scores(before, after)
    assert (len(pairs.baseline), math.fsum(pairs.baseline), math.fsum(pairs.candidate)) == (29, 14, 29)
    assert set(pairs.clusters or ()) == {"c"}
    assert pairs.unscored == 1


def test_pairs_that_do_not_match_are_refused() -> None:
    """An id on one side only, clusters that disagree, or many unscored pairs make no comparison."""
    with pytest.raises(InvalidInput, match="'b'"):
        pair_scores({"a": (1.0, None)}, {"a": (1.0, None), "b": (1.0, None)})
    with pytest.raises(InvalidInput, match="cluster 'x'"):
        pair_scores({"a": (1.0, "x")}, {"a": (1.0, "y")})
    with pytest.raises(InvalidInput, match="1 of 2 pairs"):
        pair_scores({"a": (1.0, None), "b": (None, None)}, {"a": (1.0, None), "b": (1.0, None)})
