"""kill -9 in the middle of appending: no acknowledged entry is missing afterwards."""

import json
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from registry.audit.log import AuditLog

pytestmark = pytest.mark.chaos

CALLERS = 64
ROUNDS = 5

# Reports each index on standard output after it was acknowledged, never before.
CHILD = textwrap.dedent("""
    import asyncio, os, sys
    from pathlib import Path
    from registry.audit.log import AuditLog

    async def call(log, caller):
        number = 0
        while True:
            intent = await log.intent("insight", {"call": f"{caller}.{number}"})
            os.write(1, f"intent {intent} {caller}.{number}\\n".encode())
            if number % 3:
                position = await log.outcome(intent, "served", {"call": f"{caller}.{number}"})
                os.write(1, f"outcome {position.index} {caller}.{number}\\n".encode())
            number += 1

    async def main():
        log = AuditLog.open(Path(sys.argv[1]), "serve")
        await asyncio.gather(*(call(log, caller) for caller in range(int(sys.argv[2]))))

    asyncio.run(main())
""")


def run_and_kill(directory: Path, acknowledged: int) -> list[tuple[str, int, str]]:
    """Let a child append until it has acknowledged so many entries, kill it, and give what it acknowledged."""
    command = [sys.executable, "-c", CHILD, str(directory), str(CALLERS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(acknowledged)]
        child.send_signal(signal.SIGKILL)
        lines += child.stdout.readlines()
    told = [line.split() for line in lines if line.endswith("\n")]
    return [(phase, int(index), call) for phase, index, call in told]


def test_no_acknowledged_entry_is_lost(tmp_path: Path) -> None:
    """Killed five times under 64 callers, the log has each acknowledged entry at the position that was told."""
    acknowledged: list[tuple[str, int, str]] = []
    for round_ in range(ROUNDS):
        acknowledged += run_and_kill(tmp_path, 400 + 333 * round_)
    AuditLog.open(tmp_path, "serve").close()
    (path,) = tmp_path.iterdir()
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    for phase, index, call in acknowledged:
        assert (entries[index]["phase"], entries[index]["body"]["call"]) == (phase, call)
    assert len(acknowledged) >= 400 * ROUNDS


def test_every_call_has_an_outcome(tmp_path: Path) -> None:
    """After recovery each intent is settled exactly once: as its process said, or as abandoned."""
    run_and_kill(tmp_path, 500)
    AuditLog.open(tmp_path, "serve").close()
    (path,) = tmp_path.iterdir()
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    intents = [entry["index"] for entry in entries if entry["phase"] == "intent"]
    outcomes = [entry["intent"] for entry in entries if entry["phase"] == "outcome"]
    assert sorted(outcomes) == intents
    assert {entry["status"] for entry in entries if entry["phase"] == "outcome"} == {"served", "abandoned"}
