"""The supervisor with real processes: small servers that live, die or never become healthy."""

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from infra.local import health, processes, supervisor
from infra.local.errors import PartFailed, PlatformError, PortTaken
from infra.local.parts import Part
from infra.local.settings import LocalSettings
from infra.local.supervisor import Platform, Step

pytestmark = pytest.mark.contract

SERVER = """
import http.server, subprocess, sys
if len(sys.argv) > 2:
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""

MakePart = Callable[..., Part]


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def server(name: str, *, port: int | None = None, child: bool = False, fingerprint: str = "1") -> Part:
    """A part that serves its folder over HTTP, with or without a child process."""
    port = port or free_port()
    command = (sys.executable, "-c", SERVER, str(port), *(["child"] if child else []))
    url = f"http://127.0.0.1:{port}"
    return Part(
        name=name,
        title=name.title(),
        command=command,
        url=url,
        healthy=lambda _started: health.answers(url),
        port=port,
        port_variable=f"ASSAY_{name.upper()}_PORT",
        fingerprint=fingerprint,
    )


def dying(name: str) -> Part:
    """A part that ends at once with words on its log."""
    command = (sys.executable, "-c", "raise SystemExit('ModuleNotFoundError: no such part')")
    return Part(name=name, title="Dying", command=command, url="http://127.0.0.1:1", healthy=lambda _started: False)


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Platform]]:
    """Makes platforms over one home with the given parts; whatever they started is ended."""
    settings = LocalSettings(ASSAY_HOME=tmp_path / "home")  # pyright: ignore[reportCallIssue]

    def make(*parts: Part) -> Platform:
        monkeypatch.setattr(supervisor, "parts", lambda _settings: parts)
        return Platform(settings)

    yield make
    make().down()


class TestUp:
    """Platform.up."""

    def test_parts_run_on_after_up_returned(self, platform: Callable[..., Platform]) -> None:
        """Every part is healthy and runs in a session of its own."""
        made = platform(server("one"), server("two"))
        made.up()
        lines = made.status()
        assert [line.state for line in lines] == ["running", "running"]
        assert all(os.getsid(line.pid or 0) == line.pid for line in lines)

    def test_a_second_up_keeps_running_parts(self, platform: Callable[..., Platform]) -> None:
        """Nothing is restarted when neither version nor configuration changed."""
        made = platform(server("one"))
        made.up()
        before = made.status()
        made.up()
        assert made.status() == before

    def test_a_changed_configuration_restarts_the_part(self, platform: Callable[..., Platform]) -> None:
        """A part whose fingerprint changed runs anew; the other stays."""
        one, two = server("one"), server("two")
        made = platform(one, two)
        made.up()
        before = {line.name: line.pid for line in made.status()}
        made = platform(server("one", port=one.port, fingerprint="2"), two)
        made.up()
        after = {line.name: line.pid for line in made.status()}
        assert after["one"] != before["one"]
        assert after["two"] == before["two"]

    def test_a_killed_part_is_started_again(self, platform: Callable[..., Platform]) -> None:
        """`up` repairs what has died since."""
        made = platform(server("one"))
        made.up()
        pid = made.status()[0].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        psutil.wait_procs([psutil.Process(pid)], timeout=5)
        made.up()
        assert made.status()[0].state == "running"

    def test_an_orphan_that_holds_the_port_is_ended(self, platform: Callable[..., Platform]) -> None:
        """A part's child that outlived it and kept its port does not stand in the way of the next `up`."""
        part = server("one")
        keeper = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SERVER!r}, '{part.port}']).wait()"
        made = platform(replace(part, command=(sys.executable, "-c", keeper)))
        made.up()
        parent = psutil.Process(made.status()[0].pid)
        parent.kill()
        psutil.wait_procs([parent], timeout=5)
        assert processes.port_holder(part.port or 0) is not None
        made.up()
        assert made.status()[0].state == "running"

    def test_a_step_that_may_fail_leaves_the_platform_running(self, platform: Callable[..., Platform]) -> None:
        """Its sentence is kept, what needs it is not tried, and every part stays up."""

        def refuse() -> None:
            raise PlatformError("the evaluation did not pass")

        seen: list[str] = []
        steps = [
            Step(name="evaluation", title="Evaluation", run=refuse, may_fail=True),
            Step(name="promotion", title="", run=lambda: seen.append("x"), needs=("evaluation",), may_fail=True),
        ]
        made = platform(server("one"))
        made.up(steps)
        assert made.status()[0].state == "running"
        assert made.failures == {
            "evaluation": "the evaluation did not pass",
            "promotion": "not tried, because 'evaluation' failed",
        }
        assert seen == []

    def test_a_step_may_come_after_one_that_failed(self, platform: Callable[..., Platform]) -> None:
        """What only waits for a step is tried however that ended, and not before."""

        def refuse() -> None:
            seen.append("evaluation")
            raise PlatformError("the evaluation did not pass")

        seen: list[str] = []
        steps = [
            Step(name="promotion", title="", run=lambda: seen.append("promotion"), after=("evaluation",)),
            Step(name="evaluation", title="", run=refuse, may_fail=True),
        ]
        platform(server("one")).up(steps)
        assert seen == ["evaluation", "promotion"]

    def test_a_part_that_dies_names_its_log_and_takes_the_others_down(
        self, platform: Callable[..., Platform], tmp_path: Path
    ) -> None:
        """One clear sentence, and nothing half-started stays behind."""
        made = platform(server("one"), dying("two"))
        with pytest.raises(PartFailed, match=r"Dying died while starting \(ModuleNotFoundError.*two\.log"):
            made.up()
        assert [line.state for line in made.status()] == ["stopped", "stopped"]
        assert list((tmp_path / "home" / "run").iterdir()) == []

    def test_a_failed_up_leaves_the_parts_of_an_earlier_up_alone(self, platform: Callable[..., Platform]) -> None:
        """Only what this call started is stopped again."""
        one = server("one")
        platform(one).up()
        made = platform(one, dying("two"))
        with pytest.raises(PartFailed):
            made.up()
        assert [line.state for line in made.status()] == ["running", "stopped"]

    def test_a_busy_port_names_the_process_and_the_variable(self, platform: Callable[..., Platform]) -> None:
        """The person learns who has the port and which setting moves ours."""
        with socket.socket() as holder:
            holder.bind(("127.0.0.1", 0))
            holder.listen()
            port = holder.getsockname()[1]
            made = platform(server("one", port=port))
            with pytest.raises(PortTaken, match=rf"port {port} .* taken by .*pid {os.getpid()}.*ASSAY_ONE_PORT"):
                made.up()

    def test_steps_run_after_what_they_need(self, platform: Callable[..., Platform]) -> None:
        """A step sees the parts and steps it named ready."""
        one = server("one")
        seen: list[str] = []
        steps = [
            Step(name="last", title="Last", run=lambda: seen.append("last"), needs=("first",)),
            Step(name="first", title="First", run=lambda: seen.append(str(one.healthy(0))), needs=("one",)),
        ]
        platform(one).up(steps)
        assert seen == ["True", "last"]

    def test_a_failing_step_stops_what_was_started(self, platform: Callable[..., Platform]) -> None:
        """A migration that fails leaves no process behind."""

        def refuse() -> None:
            raise PlatformError("the database is newer than this release")

        made = platform(server("one"))
        with pytest.raises(PlatformError, match="newer"):
            made.up([Step(name="migrate", title="Migrate", run=refuse)])
        assert made.status()[0].state == "stopped"


class TestDown:
    """Platform.down."""

    def test_children_are_ended_too(self, platform: Callable[..., Platform]) -> None:
        """No process and no open port is left."""
        part = server("one", child=True)
        made = platform(part)
        made.up()
        pid = made.status()[0].pid
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        assert len(family) == 2
        assert made.down() == ["one"]
        assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in family)
        assert processes.port_holder(part.port or 0) is None

    def test_a_child_whose_parent_was_killed_is_found(self, platform: Callable[..., Platform]) -> None:
        """Processes of this home that lost their parent are ended as well."""
        made = platform(server("one", child=True))
        made.up()
        parent = psutil.Process(made.status()[0].pid)
        (orphan,) = parent.children()
        parent.kill()
        psutil.wait_procs([parent], timeout=5)
        made.down()
        assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE

    def test_a_reused_pid_is_not_killed(self, platform: Callable[..., Platform], tmp_path: Path) -> None:
        """A process that merely has the remembered number is left alone."""
        made = platform(server("one"))
        made.up()
        record = tmp_path / "home" / "run" / "one.json"
        running = processes.find(tmp_path / "home", "one")
        assert running is not None
        stranger = record.read_text().replace(str(running.pid), str(os.getpid()))
        record.with_name("stranger.json").write_text(stranger)
        assert made.down() == ["one"]

    def test_down_without_a_home_is_quiet(self, tmp_path: Path) -> None:
        """Stopping a platform that never ran is no error."""
        settings = LocalSettings(ASSAY_HOME=tmp_path / "none")  # pyright: ignore[reportCallIssue]
        assert Platform(settings).down() == []
