"""The use cases that a process serves."""

from pathlib import Path

import pytest
from fakes.fake_serving import write_policy

from registry.prompts.policy import POLICIES_MAX, InvalidPolicy, load_policies


def test_too_many_use_cases_are_refused(tmp_path: Path) -> None:
    """A directory with more use cases than are served is an error, never a silent cut."""
    write_policy(tmp_path)
    assert list(load_policies(tmp_path)) == ["insights"]
    for number in range(POLICIES_MAX):
        (tmp_path / f"case-{number}.yaml").touch()
    with pytest.raises(InvalidPolicy, match=f"{POLICIES_MAX + 1} use cases"):
        load_policies(tmp_path)
