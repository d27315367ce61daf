"""Docs: the command reference is generated, and every link in the docs leads somewhere."""

import re
from pathlib import Path

import pytest

from flows.cli.reference import reference

ROOT = Path(__file__).parents[3]
PAGES = sorted(
    [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), ROOT / "evaluation" / "data" / "sample" / "README.md"]
)


def test_the_command_reference_is_true() -> None:
    """docs/cli.md is what the commands say of themselves."""
    assert (ROOT / "docs" / "cli.md").read_text() == reference(), "run: python -m flows.cli.reference > docs/cli.md"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page names a file that is there."""
    targets = re.findall(r"\]\(([^)#\s]+)\)", page.read_text())
    broken = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert broken == []
