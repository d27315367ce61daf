"""Start a process that outlives the terminal, find it again, and end it with everything it started."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

MARK = "ASSAY_SUPERVISED_BY"
"""Environment variable that every started process and its children carry; its value is home."""

STOP_TIMEOUT_S = 15.0
"""MLflow and Prefect end within 3 s when idle; a busy flow run may take longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A started process, as remembered under `run/`."""

    name: str
    pid: int
    started: float
    """Creation time of the process as the kernel tells it, so that a reused pid is not taken for ours."""
    fingerprint: str
    """Version and configuration it was started with."""

    def alive(self) -> bool:
        """True while this very process runs (a zombie does not)."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < 1.0
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False


def start(home: Path, name: str, command: Sequence[str], environment: Mapping[str, str], fingerprint: str) -> Running:
    """Start `command` in a session of its own, its output appended to `logs/NAME.log`; remember it."""
    log = log_path(home, name)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 - our own command
            list(command),
            env={**environment, MARK: str(home)},
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    process.returncode = 0  # let go of it: it outlives us, and `Popen` would warn about that
    running = Running(
        name=name, pid=process.pid, started=psutil.Process(process.pid).create_time(), fingerprint=fingerprint
    )
    record = _record(home, name)
    draft = record.with_suffix(".tmp")
    draft.write_text(json.dumps(asdict(running)))
    draft.replace(record)
    return running


def find(home: Path, name: str) -> Running | None:
    """The process remembered under this name, alive or not; None when there is none."""
    try:
        return Running(**json.loads(_record(home, name).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def stop(home: Path, name: str) -> bool:
    """End the remembered process and all its descendants; True when it was running."""
    running = find(home, name)
    was_alive = running is not None and running.alive()
    if running is not None and was_alive:
        _end(_family(psutil.Process(running.pid)))
    _record(home, name).unlink(missing_ok=True)
    return was_alive


def stop_strays(home: Path, spared: Sequence[Running] = ()) -> int:
    """End processes of this home whose parent was killed; returns how many. `spared` run on with their families."""
    known = {member.pid for running in spared for member in _family(psutil.Process(running.pid))}
    strays = [process for process in psutil.process_iter() if process.pid not in known and _marked(process, home)]
    _end(strays)
    return len(strays)


def log_path(home: Path, name: str) -> Path:
    """The log of one part."""
    return home / "logs" / f"{name}.log"


def last_words(log: Path) -> str:
    """The last line of a log, which in Python names the error."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4_000))
        lines = file.read().decode(errors="replace").strip().splitlines()
    return f" ({lines[-1].strip()[:300]})" if lines else ""


def port_holder(port: int) -> str | None:
    """Who listens on a TCP port of this machine, e.g. `python (pid 17)`; None when it is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            pass
        else:
            return None
    try:
        for connection in psutil.net_connections(kind="tcp"):
            listens = connection.status == psutil.CONN_LISTEN and tuple(connection.laddr)[1:2] == (port,)
            if listens and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        pass  # the operating system does not tell
    return "a process that this user may not see"


def _record(home: Path, name: str) -> Path:
    return home / "run" / f"{name}.json"


def _family(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return [process]


def _marked(process: psutil.Process, home: Path) -> bool:
    try:
        return process.pid != os.getpid() and process.environ().get(MARK) == str(home)
    except psutil.Error:
        return False


def _end(processes: Sequence[psutil.Process]) -> None:
    for sign, timeout_s in ((signal.SIGTERM, STOP_TIMEOUT_S), (signal.SIGKILL, 5.0)):
        for process in processes:
            try:
                process.send_signal(sign)
            except psutil.Error:
                continue
        _gone, processes = psutil.wait_procs(processes, timeout=timeout_s)
        if not processes:
            return
