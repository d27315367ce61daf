"""What a power cut may leave at the end of an audit log, and what becomes of it."""

import json
import logging
from pathlib import Path

import pytest

from registry.audit.log import AuditLog


async def test_a_hole_before_whole_lines_is_left_for_people(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A disk that kept the end of a batch but not its beginning: nothing is cut, and a new log is begun."""
    log = AuditLog.open(tmp_path, "serve", new_id=lambda: "1")
    await log.intent("insight", {"acknowledged": True})
    durable = (tmp_path / "serve-1.jsonl").stat().st_size
    await log.intent("insight", {})
    await log.intent("insight", {})
    log._appender.close()  # as a dead process does: without a last entry
    content = (tmp_path / "serve-1.jsonl").read_bytes()
    second_end = content.index(b"\n", durable) + 1
    left = content[:durable] + bytes(second_end - durable) + content[second_end:]
    (tmp_path / "serve-1.jsonl").write_bytes(left)
    with caplog.at_level(logging.ERROR), AuditLog.open(tmp_path, "serve", new_id=lambda: "2") as after:
        assert after.name == "serve-2"
    assert (tmp_path / "serve-1.jsonl").read_bytes() == left
    assert "serve-1 is damaged" in caplog.text
    assert json.loads(left[:durable].splitlines()[-1])["body"] == {"acknowledged": True}
