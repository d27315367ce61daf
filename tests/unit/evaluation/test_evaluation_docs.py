"""Every metric has its heading in docs/evaluation.md."""

import re
from pathlib import Path

from evaluation.retrieval_metrics import METRIC_NAMES
from evaluation.summary import ANSWER_CHECKS

PAGE = Path(__file__).parents[3] / "docs" / "evaluation.md"


def test_every_metric_has_a_heading() -> None:
    """What the code can compute and what the page explains are the same."""
    headings = set(re.findall(r"^### (\S+)$", PAGE.read_text(), re.MULTILINE))
    assert headings == {*METRIC_NAMES, *ANSWER_CHECKS}
