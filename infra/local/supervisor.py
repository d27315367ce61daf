"""Bring the platform up, all of it or nothing, and take it down again."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Literal

from infra.local import home, processes
from infra.local.errors import PartFailed, PlatformError, PortTaken
from infra.local.health import answers
from infra.local.parts import Part, environment, external, parts
from infra.local.settings import LocalSettings

POLL_S = 0.2

State = Literal["starting", "kept", "restarting", "ready", "failed", "working", "done"]
"""kept: was already running and well; working and done are said of steps."""

Progress = Callable[[str, State, str], None]
"""Called with (name, state, detail); from several threads."""


def silent(_name: str, _state: State, _detail: str) -> None:
    """A progress that nobody watches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Work that `up` does between starting parts, e.g. migrations; handed in by the command line."""

    name: str
    title: str
    run: Callable[[], None]
    needs: tuple[str, ...] = ()
    """Parts and steps that have to be ready first."""
    after: tuple[str, ...] = ()
    """Steps that have to be over first, failed or not."""
    may_fail: bool = False
    """Its failure leaves the platform running; `Platform.failures` has the sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartStatus:
    """One line of `assay status`."""

    name: str
    state: Literal["running", "unhealthy", "stopped", "external", "external-down"]
    pid: int | None
    url: str
    log: str | None

    def as_dict(self) -> dict[str, str | int | None]:
        """For `--json`."""
        return asdict(self)


@dataclass(slots=True)
class Platform:
    """The parts of one home.

    Args:
        settings: home and ports.
        clock: seconds that never go back.
    """

    settings: LocalSettings
    clock: Callable[[], float] = time.monotonic
    failures: dict[str, str] = field(default_factory=dict[str, str], init=False)
    """Of the last `up`: steps that may fail and did, with the reason."""
    _stop: threading.Event = field(default_factory=threading.Event, init=False)
    _started: list[str] = field(default_factory=list[str], init=False)

    def up(self, steps: Sequence[Step] = (), progress: Progress = silent) -> tuple[Part, ...]:
        """Start every part that is not running well, do the steps, wait until all is ready.

        Returns:
            The parts that run here.

        Raises:
            PlatformError: one sentence; whatever this call had started is stopped again.
        """
        root = self.settings.root
        with home.locked(root):
            home.prepare(root)
            every = parts(self.settings)
            self._stop.clear()
            self._started.clear()
            self.failures.clear()
            self._end_orphans(every)
            self._check_ports(every)
            try:
                self._run_all(every, steps, progress)
            except BaseException:  # also on Ctrl-C: nothing half-started stays behind
                self._stop.set()
                for name in self._started:
                    processes.stop(root, name)
                raise
        return every

    def down(self, progress: Progress = silent) -> list[str]:
        """End what `up` started here, and nothing else; returns the names that were running."""
        root = self.settings.root
        if not root.exists():
            return []
        with home.locked(root), ThreadPoolExecutor() as pool:
            names = sorted(record.stem for record in (root / "run").glob("*.json"))
            ended = dict(zip(names, pool.map(partial(processes.stop, root), names), strict=True))
            for name, was_alive in ended.items():
                progress(name, "done", "stopped" if was_alive else "was not running")
            strays = processes.stop_strays(root)
            if strays:
                progress("strays", "done", f"ended {strays} processes that had lost their parent")
        return [name for name, was_alive in ended.items() if was_alive]

    def status(self) -> list[PartStatus]:
        """How every part is right now."""
        lines = [self._part_status(part) for part in parts(self.settings)]
        for name, url in external(self.settings).items():
            state = "external" if answers(_health_url(name, url)) else "external-down"
            lines.append(PartStatus(name=name, url=url, state=state, pid=None, log=None))
        return lines

    def _part_status(self, part: Part) -> PartStatus:
        root = self.settings.root
        running = processes.find(root, part.name)
        alive = running is not None and running.alive()
        state = "stopped"
        if running is not None and alive:
            state = "running" if part.healthy(running.started) else "unhealthy"
        return PartStatus(
            name=part.name,
            url=part.url,
            state=state,
            pid=running.pid if running and alive else None,
            log=str(processes.log_path(root, part.name)),
        )

    def _end_orphans(self, every: Sequence[Part]) -> None:
        """A killed part may leave children that hold its port."""
        found = (processes.find(self.settings.root, part.name) for part in every)
        processes.stop_strays(self.settings.root, spared=[running for running in found if running and running.alive()])

    def _check_ports(self, every: Sequence[Part]) -> None:
        for part in every:
            running = processes.find(self.settings.root, part.name)
            if part.port is None or (running is not None and running.alive()):
                continue
            holder = processes.port_holder(part.port)
            if holder is not None:
                raise PortTaken(
                    f"port {part.port} for {part.title} is taken by {holder}; stop it or set {part.port_variable}"
                )

    def _run_all(self, every: Sequence[Part], steps: Sequence[Step], progress: Progress) -> None:
        """Each part and step waits for what it needs, in a thread of its own; the first failure ends all."""
        jobs: dict[str, tuple[tuple[str, ...], Callable[[], None]]] = {}
        for part in every:
            jobs[part.name] = (part.needs, partial(self._bring_up, part, progress))
        for step in steps:
            jobs[step.name] = ((*step.needs, *step.after), partial(self._do, step, progress))
        futures: dict[str, Future[None]] = {name: Future() for name in jobs}
        with ThreadPoolExecutor(max_workers=len(jobs)) as pool:
            try:
                for name, (needs, run) in jobs.items():
                    # A need that is no job is an external server.
                    pool.submit(_after, [futures[need] for need in needs if need in futures], run, futures[name])
                wait(futures.values(), return_when=FIRST_EXCEPTION)
                for future in futures.values():
                    if future.done():
                        future.result()
            finally:
                self._stop.set()

    def _bring_up(self, part: Part, progress: Progress) -> None:
        root = self.settings.root
        running = processes.find(root, part.name)
        if running is not None and running.alive():
            if running.fingerprint == part.fingerprint and part.healthy(running.started):
                progress(part.name, "kept", "already running")
                return
            progress(part.name, "restarting", "version or configuration changed, or not healthy")
            processes.stop(root, part.name)
        else:
            progress(part.name, "starting", "")
        found = environment(part, self.settings)
        running = processes.start(root, part.name, part.command, found, part.fingerprint)
        self._started.append(part.name)
        begun = self.clock()
        log = processes.log_path(root, part.name)
        while not part.healthy(running.started):
            if not running.alive():
                raise PartFailed(f"{part.title} died while starting{processes.last_words(log)}; its log is {log}")
            if self.clock() - begun > part.start_timeout_s:
                raise PartFailed(f"{part.title} was not healthy after {part.start_timeout_s:.0f} s; its log is {log}")
            if self._stop.wait(POLL_S):
                raise PlatformError("stopped because another part failed")
        progress(part.name, "ready", f"{self.clock() - begun:.1f} s")

    def _do(self, step: Step, progress: Progress) -> None:
        if self._stop.is_set():
            raise PlatformError("stopped because another part failed")
        for need in step.needs:
            if need in self.failures:
                self._fail(step, f"not tried, because {need!r} failed", progress)
                return
        progress(step.name, "working", "")
        begun = self.clock()
        try:
            step.run()
        except Exception as error:  # whatever a step raises; said to the person, or raised on
            if not step.may_fail:
                raise
            self._fail(step, str(error), progress)
            return
        progress(step.name, "done", f"{self.clock() - begun:.1f} s")

    def _fail(self, step: Step, reason: str, progress: Progress) -> None:
        self.failures[step.name] = reason
        progress(step.name, "failed", reason)


def _after(needs: Sequence[Future[None]], run: Callable[[], None], done: Future[None]) -> None:
    try:
        for need in needs:
            need.result()
        run()
    except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
        done.set_exception(error)
    else:
        done.set_result(None)


def _health_url(name: str, url: str) -> str:
    return f"{url}/readyz" if name == "engine" else f"{url}/health"
