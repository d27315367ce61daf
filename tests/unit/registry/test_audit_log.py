"""The audit log: what is written, what is refused, what a dead process leaves behind."""

import asyncio
import hashlib
import json
import logging
import resource
from pathlib import Path
from typing import Any

import pytest
from fakes.fake_clock import FakeClock

from registry.audit.log import ENTRY_BYTES_MAX, AuditLog, LogUnavailable, commitment
from registry.errors import InvalidInput
from registry.insights import AuditPosition


def entries(directory: Path, name: str) -> list[dict[str, Any]]:
    """All entries of a log, each checked to follow from the one before."""
    previous, found = hashlib.sha256(name.encode()).hexdigest(), list[dict[str, Any]]()
    for index, line in enumerate((directory / f"{name}.jsonl").read_bytes().splitlines()):
        entry = json.loads(line)
        assert (entry["index"], entry["previous"]) == (index, previous)
        previous = hashlib.sha256(line).hexdigest()
        found.append(entry)
    return found


def told(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry less what holds for each of them."""
    return {key: value for key, value in entry.items() if key not in {"index", "previous", "at_ms"}}


def size(path: Path) -> int:
    """Bytes of a file."""
    return path.stat().st_size


def die(log: AuditLog) -> None:
    """End a log as a killed process does: without a last entry."""
    log._appender.close()


class TestEntries:
    """What a living log writes."""

    async def test_a_call_is_an_intent_and_an_outcome(self, tmp_path: Path, clock: FakeClock) -> None:
        """The file tells who opened it, what was meant, how it ended, and that it was closed."""
        log = AuditLog.open(tmp_path, "serve", clock, new_id=lambda: "1")
        intent = await log.intent("insight", {"tenant": "acme"})
        position = await log.outcome(intent, "served", {"cost": 7})
        log.close()
        assert position == AuditPosition(log="serve-1", index=2)
        found = entries(tmp_path, "serve-1")
        assert [told(entry) for entry in found] == [
            {"phase": "note", "kind": "log.opened", "body": {"log": "serve-1"}},
            {"phase": "intent", "kind": "insight", "body": {"tenant": "acme"}},
            {"phase": "outcome", "kind": "insight", "intent": 1, "status": "served", "body": {"cost": 7}},
            {"phase": "note", "kind": "log.closed", "body": {}},
        ]
        assert {entry["at_ms"] for entry in found} == {int(clock.now * 1000)}

    async def test_an_acknowledged_entry_is_in_the_file(self, tmp_path: Path) -> None:
        """When `intent` returns, the whole line can be read by anybody."""
        log = AuditLog.open(tmp_path, "serve")
        index = await log.intent("insight", {})
        assert entries(tmp_path, log.name)[index]["phase"] == "intent"
        log.close()

    async def test_many_at_once_get_an_index_each(self, tmp_path: Path) -> None:
        """Three hundred concurrent notes stand in one chain, each at the position it was told."""
        log = AuditLog.open(tmp_path, "serve")
        positions = await asyncio.gather(*(log.note("n", {"number": number}) for number in range(300)))
        log.close()
        found = entries(tmp_path, log.name)
        assert [found[position.index]["body"]["number"] for position in positions] == list(range(300))

    async def test_one_intent_has_one_outcome(self, tmp_path: Path) -> None:
        """A second outcome, and one for something that is no intent, are refused."""
        with AuditLog.open(tmp_path, "serve") as log:
            intent = await log.intent("insight", {})
            await log.outcome(intent, "served", {})
            for index in (intent, 0, 99):
                with pytest.raises(InvalidInput, match="not open"):
                    await log.outcome(index, "served", {})

    async def test_what_does_not_fit_is_refused(self, tmp_path: Path) -> None:
        """Content, and numbers JSON does not know, write nothing; the intent can still be settled."""
        with AuditLog.open(tmp_path, "serve") as log:
            with pytest.raises(InvalidInput, match="vault"):
                await log.note("n", {"text": "x" * ENTRY_BYTES_MAX})
            with pytest.raises(InvalidInput, match="number"):
                await log.note("n", {"score": float("nan")})
            intent = await log.intent("insight", {})
            with pytest.raises(InvalidInput):
                await log.outcome(intent, "served", {"text": "x" * ENTRY_BYTES_MAX})
            await log.outcome(intent, "failed", {})
        assert len(entries(tmp_path, log.name)) == 4

    async def test_odd_text_stays_on_its_line(self, tmp_path: Path) -> None:
        """Line breaks, quotes and lone surrogates in a body do not break the file."""
        body = {"a": 'x\n\r\u2028"}\\', "b": "\ud800", "ключ": "é"}
        with AuditLog.open(tmp_path, "serve") as log:
            position = await log.note("n", body)
        assert entries(tmp_path, log.name)[position.index]["body"] == body

    async def test_a_closed_log_takes_nothing(self, tmp_path: Path) -> None:
        """After `close` an entry is refused as unavailable, and closing again is harmless."""
        log = AuditLog.open(tmp_path, "serve")
        log.close()
        log.close()
        with pytest.raises(LogUnavailable, match="closed"):
            await log.intent("insight", {})

    def test_a_name_is_no_path(self, tmp_path: Path) -> None:
        """What cannot be a plain file name is refused."""
        for name in ("", "../x", "a/b", "A", "a\0"):
            with pytest.raises(InvalidInput, match="named"):
                AuditLog.open(tmp_path, name)

    def test_a_directory_that_cannot_be_made_is_said_so(self, tmp_path: Path) -> None:
        """A file in the directory's place is a clear sentence."""
        (tmp_path / "audit").write_text("")
        with pytest.raises(LogUnavailable, match="audit"):
            AuditLog.open(tmp_path / "audit", "serve")

    def test_a_commitment_binds_text_and_salt(self) -> None:
        """It is HMAC-SHA256: another text or another salt gives another commitment (RFC 4231, case 2)."""
        golden = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        assert commitment("what do ya want for nothing?", b"Jefe") == golden
        assert commitment("what do ya want for nothing?", b"jefe") != golden


class TestFailures:
    """A disk that refuses."""

    @pytest.fixture
    def log(self, tmp_path: Path) -> AuditLog:
        """An open log."""
        return AuditLog.open(tmp_path, "serve")

    async def test_a_full_disk_refuses_and_recovers(self, log: AuditLog, tmp_path: Path) -> None:
        """While only half an entry fits, entries are refused; with room again the chain goes on unbroken."""
        path, unlimited = tmp_path / f"{log.name}.jsonl", resource.getrlimit(resource.RLIMIT_FSIZE)
        full = size(path) + 100
        resource.setrlimit(resource.RLIMIT_FSIZE, (full, unlimited[1]))
        try:
            for _ in range(2):
                with pytest.raises(LogUnavailable, match="cannot be written"):
                    await log.intent("insight", {"id": "x" * 100})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        assert size(path) == full
        assert (await log.note("n", {})).index == 1
        log.close()
        assert [entry["kind"] for entry in entries(tmp_path, log.name)] == ["log.opened", "n", "log.closed"]

    async def test_an_outcome_that_failed_can_be_written_again(
        self, log: AuditLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The intent stays open until its outcome is durable."""
        intent = await log.intent("insight", {})
        with monkeypatch.context() as broken:
            broken.setattr(log._appender, "_descriptor", -1)
            with pytest.raises(LogUnavailable):
                await log.outcome(intent, "served", {})
        assert (await log.outcome(intent, "served", {})).index == 2
        log.close()

    async def test_a_cancelled_caller_leaves_its_intent_to_recovery(self, log: AuditLog, tmp_path: Path) -> None:
        """An intent whose caller went away before it returned is closed as abandoned by the next process."""
        caller = asyncio.ensure_future(log.intent("insight", {}))
        await asyncio.sleep(0)
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
        await log.note("after", {})
        log.close()
        AuditLog.open(tmp_path, "serve").close()
        found = [entry for entry in entries(tmp_path, log.name) if entry["phase"] == "outcome"]
        assert [(entry["intent"], entry["status"]) for entry in found] == [(1, "abandoned")]


class TestRecovery:
    """What the next process does with a log whose owner is dead."""

    async def test_orphans_are_closed_as_abandoned(self, tmp_path: Path) -> None:
        """Open intents of the dead get an outcome, settled ones are left alone, and the log goes on."""
        dead = AuditLog.open(tmp_path, "serve")
        for settled in (False, True, False):
            intent = await dead.intent("insight", {})
            if settled:
                await dead.outcome(intent, "served", {})
        die(dead)
        heir = AuditLog.open(tmp_path, "serve")
        assert heir.name == dead.name
        found = entries(tmp_path, heir.name)
        assert [(entry["intent"], entry["status"]) for entry in found if entry["phase"] == "outcome"] == [
            (2, "served"),
            (1, "abandoned"),
            (4, "abandoned"),
        ]
        assert found[-1]["kind"] == "log.opened"
        heir.close()

    async def test_a_living_process_keeps_its_log(self, tmp_path: Path) -> None:
        """A second process of the same role gets a log of its own and touches nothing of the first."""
        first = AuditLog.open(tmp_path, "serve")
        intent = await first.intent("insight", {})
        second = AuditLog.open(tmp_path, "serve")
        assert second.name != first.name
        second.close()
        await first.outcome(intent, "served", {})
        first.close()
        assert [entry["phase"] for entry in entries(tmp_path, first.name)] == ["note", "intent", "outcome", "note"]

    async def test_the_dead_of_another_role_are_settled_too(self, tmp_path: Path) -> None:
        """Whoever opens a log next closes the orphans of all that are dead, and continues only its own role's."""
        dead = AuditLog.open(tmp_path, "worker")
        await dead.intent("evaluation", {})
        die(dead)
        log = AuditLog.open(tmp_path, "serve")
        log.close()
        assert log.name.startswith("serve-")
        assert [entry["phase"] for entry in entries(tmp_path, dead.name)] == ["note", "intent", "outcome", "note"]

    async def test_a_dead_role_with_a_longer_name_is_another(self, tmp_path: Path) -> None:
        """`serve` does not continue a log of `serve-canary`."""
        other = AuditLog.open(tmp_path, "serve-canary")
        other.close()
        log = AuditLog.open(tmp_path, "serve")
        log.close()
        assert log.name != other.name
        assert (tmp_path / f"{log.name}.jsonl").exists()

    @pytest.mark.parametrize("torn", [b"{", b'{"index":2,"prev', b"\0" * 5000, b"\xff"])
    async def test_a_torn_line_is_cut(self, tmp_path: Path, torn: bytes, caplog: pytest.LogCaptureFixture) -> None:
        """Bytes without a newline at the end were never acknowledged; all before them stays, and the chain goes on."""
        dead = AuditLog.open(tmp_path, "serve")
        await dead.note("n", {})
        die(dead)
        path = tmp_path / f"{dead.name}.jsonl"
        before = path.read_bytes()
        path.write_bytes(before + torn)
        AuditLog.open(tmp_path, "serve").close()
        assert path.read_bytes().startswith(before)
        assert [entry["kind"] for entry in entries(tmp_path, dead.name)][:3] == ["log.opened", "n", "log.opened"]
        assert "never acknowledged" in caplog.text

    @pytest.mark.parametrize("cut", range(1, 60, 7))
    async def test_every_cut_within_the_last_line_is_healed(self, tmp_path: Path, cut: int) -> None:
        """Wherever a kill tears the last line, the lines before it survive."""
        dead = AuditLog.open(tmp_path, "serve")
        for number in range(3):
            await dead.note("n", {"number": number})
        die(dead)
        path = tmp_path / f"{dead.name}.jsonl"
        path.write_bytes(path.read_bytes()[:-cut])
        heir = AuditLog.open(tmp_path, "serve")
        heir.close()
        numbers = [entry["body"]["number"] for entry in entries(tmp_path, heir.name) if entry["kind"] == "n"]
        assert numbers == [0, 1]

    async def test_an_empty_file_is_begun(self, tmp_path: Path) -> None:
        """A process that died right after it made its file leaves nothing to repair."""
        (tmp_path / "serve-1.jsonl").touch()
        log = AuditLog.open(tmp_path, "serve")
        log.close()
        assert log.name == "serve-1"
        assert len(entries(tmp_path, "serve-1")) == 2

    @pytest.mark.parametrize(
        ("old", "new"), [(b'"number":1', b'"number":7'), (b'"number":1', b"number:1"), (b'"index":2', b'"index":9')]
    )
    async def test_a_damaged_log_is_left_as_it_is(
        self, tmp_path: Path, old: bytes, new: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A changed entry is evidence: nothing is cut or added, a new log is begun, and an error says so."""
        dead = AuditLog.open(tmp_path, "serve")
        for number in range(3):
            await dead.note("n", {"number": number})
        die(dead)
        path = tmp_path / f"{dead.name}.jsonl"
        path.write_bytes(path.read_bytes().replace(old, new))
        damaged = path.read_bytes()
        heir = AuditLog.open(tmp_path, "serve")
        heir.close()
        assert heir.name != dead.name
        assert path.read_bytes() == damaged
        assert [record.levelno for record in caplog.records] == [logging.ERROR]

    def test_a_log_closed_in_order_is_continued(self, tmp_path: Path) -> None:
        """A restart goes on in the same file, so that there are no more files than processes at one time."""
        for _ in range(3):
            AuditLog.open(tmp_path, "serve").close()
        (name,) = (path.stem for path in tmp_path.iterdir())
        assert [entry["kind"] for entry in entries(tmp_path, name)] == ["log.opened", "log.closed"] * 3
