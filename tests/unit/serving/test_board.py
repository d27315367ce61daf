"""The memory in which the workers of a node keep what they know about providers."""

import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from registry.messages import Attempt
from serving.providers.board import SIZE, Board
from serving.providers.slot import LEASE_MARGIN_S, PING_SPACING_S, Slot

SECOND_NS = 1_000_000_000
START_NS = 10**15


def fail(slot: Slot, times: int = 5) -> None:
    """Calls that fail; five in a row open the breaker."""
    for _ in range(times):
        ticket = slot.enter(10)
        assert ticket is not None
        slot.change(lambda circuit, now_ns, ticket=ticket: circuit.failed(now_ns, ticket))


@pytest.fixture
def clock() -> list[int]:
    """Nanoseconds that a test moves by hand, in a list of one."""
    return [START_NS]


@pytest.fixture
def shared(tmp_path: Path, clock: list[int]) -> Callable[[], Board]:
    """Another worker's view of the same board, as often as it is called."""
    return lambda: Board.shared(tmp_path / "run" / "providers.board", lambda: clock[0])


def test_workers_share_what_they_know(shared: Callable[[], Board]) -> None:
    """What one writes the other reads, for the same provider and model only."""
    one, other = shared(), shared()
    fail(one.slot("p", "m"))
    one.slot("p", "m").observe(Attempt(provider="p", model="m-1", asked_model="m", outcome="answered", seconds=1.0))
    seen = other.slot("p", "m").read()
    assert (seen.state, seen.failed, seen.model, seen.whole.n) == ("open", 5, "m-1", 1)
    assert other.slot("p", "m2").state == "closed"
    assert other.slot("p2", "m").state == "closed"


def test_only_one_worker_probes(shared: Callable[[], Board], clock: list[int]) -> None:
    """When the cool-down is over, one of all workers gets a ticket, until its time and a margin are over."""
    slots = [shared().slot("p", "m") for _ in range(4)]
    fail(slots[0])
    clock[0] += 5 * SECOND_NS
    tickets = [slot.enter(20.0) for slot in slots]
    assert [ticket is not None for ticket in tickets] == [True, False, False, False]
    clock[0] += int((20 + LEASE_MARGIN_S) * SECOND_NS)
    assert slots[2].enter(20.0) is not None


def test_a_restarted_worker_finds_what_was_known(shared: Callable[[], Board]) -> None:
    """The file outlives who wrote it."""
    board = shared()
    fail(board.slot("p", "m"))
    board.close()
    assert shared().slot("p", "m").state == "open"


@pytest.mark.parametrize(
    "content", [b"", b"x", b"\xff" * SIZE, b"\xff" * (SIZE + 10), b"assay-providers-0" + b"\1" * 99]
)
def test_a_file_that_is_not_ours_is_begun_anew(tmp_path: Path, content: bytes) -> None:
    """Torn or foreign, it harms nobody, and it never gets shorter under who has it mapped."""
    path = tmp_path / "providers.board"
    path.write_bytes(content)
    slot = Board.shared(path, lambda: START_NS).slot("p", "m")
    assert (slot.state, slot.read().whole.n, slot.read().model) == ("closed", 0, None)
    fail(slot)
    assert slot.state == "open"
    assert path.stat().st_size == max(SIZE, len(content))


def test_a_file_from_before_the_machine_started_is_begun_anew(shared: Callable[[], Board], clock: list[int]) -> None:
    """The clock began again, so what it holds lies in the future."""
    fail(shared().slot("p", "m"))
    clock[0] = 7 * SECOND_NS
    assert shared().slot("p", "m").state == "closed"


def test_a_slot_from_the_future_is_begun_anew(shared: Callable[[], Board], clock: list[int]) -> None:
    """Also when the file itself is old enough."""
    shared()
    clock[0] += 10_000 * SECOND_NS
    slot = shared().slot("p", "m")
    fail(slot)
    slot.observe(Attempt(provider="p", model="m", asked_model="m"))
    clock[0] -= 5_000 * SECOND_NS
    assert shared().slot("p", "m").read().attempt_ago_s is None
    assert slot.state == "closed"


def test_a_slot_whose_writer_died_half_way_is_begun_anew(shared: Callable[[], Board]) -> None:
    """The next writer clears what may be half written, under the same name."""
    slot = shared().slot("p", "m")
    fail(slot)

    def die(_circuit: object, _now_ns: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        slot.change(die)
    other = shared().slot("p", "m")
    other.observe(Attempt(provider="p", model="m", asked_model="m"))
    assert (other.state, slot.state, slot.read().whole.n) == ("closed", "closed", 1)


def test_nobody_waits_for_a_worker_that_stands_still(shared: Callable[[], Board], tmp_path: Path) -> None:
    """While the lock is held for long, calls go on and only their traces are lost; a probe is not sent."""
    slot = shared().slot("p", "m")
    with (tmp_path / "run" / "providers.board").open("r+b") as stopped:
        fcntl.flock(stopped, fcntl.LOCK_EX)
        ticket = slot.enter(10)
        assert ticket is not None
        slot.change(lambda circuit, now_ns: circuit.failed(now_ns, ticket, at_once=True))
        slot.observe(Attempt(provider="p", model="m", asked_model="m"))
        assert not slot.claim_ping(0.0)
    assert (slot.state, slot.read().whole.n) == ("closed", 0)


def test_no_probe_without_the_lock(shared: Callable[[], Board], tmp_path: Path, clock: list[int]) -> None:
    """Rather none than two."""
    slot = shared().slot("p", "m")
    fail(slot)
    clock[0] += 5 * SECOND_NS
    with (tmp_path / "run" / "providers.board").open("r+b") as stopped:
        fcntl.flock(stopped, fcntl.LOCK_EX)
        assert slot.enter(10) is None
    assert slot.enter(10) is not None


def test_a_full_board_leaves_the_next_one_to_itself() -> None:
    """A seventeenth model works, unshared."""
    board = Board.private(lambda: START_NS)
    slots = [board.slot("p", f"m{number}") for number in range(17)]
    fail(slots[16])
    assert [slot.state for slot in slots] == ["closed"] * 16 + ["open"]


def test_without_a_file_each_worker_judges_by_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A home that cannot be written does not stop anybody from answering."""
    (tmp_path / "run").write_text("in the way")
    slot = Board.shared(tmp_path / "run" / "providers.board", lambda: START_NS).slot("p", "m")
    fail(slot)
    assert slot.state == "open"
    assert "judges providers by itself" in caplog.text


def test_without_room_on_the_disk_each_worker_judges_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk shows at the start, not as a crash when the memory is touched."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    slot = Board.shared(tmp_path / "providers.board", lambda: START_NS).slot("p", "m")
    fail(slot)
    assert slot.state == "open"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """Nobody makes a worker write into another file."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "providers.board").symlink_to(victim)
    Board.shared(tmp_path / "providers.board").slot("p", "m")
    assert victim.read_text() == "mine"


def test_a_closed_board_answers_and_no_longer_writes(shared: Callable[[], Board]) -> None:
    """A call that ends while the process does finds nothing broken."""
    board = shared()
    slot = board.slot("p", "m")
    board.close()
    board.close()
    slot.observe(Attempt(provider="p", model="m", asked_model="m"))
    assert slot.enter(1) is not None
    assert slot.read().whole.n == 0


class TestPings:
    """Who pings, and when."""

    def test_a_provider_that_is_asked_is_not_pinged(self, shared: Callable[[], Board], clock: list[int]) -> None:
        """Only after a time without traffic, from any worker."""
        one, other = shared().slot("p", "m"), shared().slot("p", "m")
        one.observe(Attempt(provider="p", model="m", asked_model="m"))
        clock[0] += 59 * SECOND_NS
        assert not other.claim_ping(60.0)
        clock[0] += SECOND_NS
        assert other.claim_ping(60.0)

    def test_one_worker_pings_and_once_a_minute(self, shared: Callable[[], Board], clock: list[int]) -> None:
        """An hour of idling costs sixty pings at most, however short the idle time is set."""
        slots = [shared().slot("p", "m") for _ in range(3)]
        sent = 0
        for _ in range(720):
            sent += sum(slot.claim_ping(5.0) for slot in slots)
            clock[0] += 5 * SECOND_NS
        assert sent == 3_600 / PING_SPACING_S

    def test_an_open_breaker_is_not_pinged(self, shared: Callable[[], Board], clock: list[int]) -> None:
        """Nor a half-open one that is being probed."""
        slot = shared().slot("p", "m")
        fail(slot)
        assert not slot.claim_ping(0.0)
        clock[0] += 5 * SECOND_NS
        assert slot.enter(10.0) is not None
        assert not slot.claim_ping(0.0)
