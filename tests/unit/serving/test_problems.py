"""The problem table, its page and its shape."""

import re
from pathlib import Path
from typing import Any

from registry.errors import InvalidInput, Unavailable
from serving.problems import FIELD_ERRORS_MAX, PROBLEMS, field_errors, render

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"


def test_every_problem_has_its_heading() -> None:
    """docs/problems.md has one heading a code, with the right status, and no other."""
    page = (DOCS / "problems.md").read_text()
    found = dict(re.findall(r"^## ([a-z-]+)\n(\d{3})\.", page, re.MULTILINE))
    assert found == {code: str(problem.status) for code, problem in PROBLEMS.items()}


def test_an_unknown_code_is_shown_by_its_branch() -> None:
    """An error that nobody put into the table still gets the status of its kind."""

    class Novel(Unavailable):
        code = "novel"

    assert render(Novel("not there")).status_code == 503


def test_details_become_members_and_never_replace_ours() -> None:
    """`details` extend the document; type, status and code stay what they are."""
    body = bytes(render(InvalidInput("no", limit=3, status=200)).body)
    assert b'"limit":3' in body
    assert b'"status":422' in body


def test_a_wait_becomes_retry_after() -> None:
    """An error that knows when to come back says so in the header, in whole seconds that are never too few."""
    assert render(Unavailable("later", retry_after_s=2.4)).headers["Retry-After"] == "3"


def test_field_errors_are_bounded_and_point_into_the_document() -> None:
    """At most twenty, one for each place, with RFC 6901 pointers."""
    faults: list[Any] = [{"loc": ("a/b", index, "str"), "msg": "no"} for index in range(50)]
    listed = field_errors(faults)
    assert len(listed) == FIELD_ERRORS_MAX
    assert listed[0] == {"pointer": "#/a~1b/0", "detail": "no"}


async def test_a_bug_is_a_problem_without_its_message(filled: Any, caplog: Any) -> None:
    """An unexpected exception is a 500 problem; its text reaches neither the client nor the log's own lines."""

    async def break_down(_request: Any) -> Any:
        raise RuntimeError("planted-content")

    filled.provider.answer = break_down
    answer = await filled.ask()
    assert (answer.status_code, answer.json()["code"]) == (500, "internal-error")
    assert "planted" not in answer.text
    assert not any("planted" in record.getMessage() for record in caplog.records)
    assert filled.audit()[-1]["status"] == "failed"
