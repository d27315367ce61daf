"""The tests' fast fake vendor as a process of its own."""

import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from fixtures_engine import free_port

PROGRAM = Path(__file__).parents[1] / "fakes" / "fake_vendor_process.py"
START_S_MAX, STOP_S_MAX = 20.0, 10.0
LOOK_EVERY_S = 0.05


@dataclass(frozen=True)
class FastVendor:
    """Where it listens; it speaks every vendor's format there."""

    url: str

    def calls(self) -> int:
        """How many calls for an answer have reached it."""
        return int(httpx.get(f"{self.url}/stats", timeout=5, trust_env=False).raise_for_status().json()["calls"])

    def arrivals(self) -> list[float]:
        """When the latest 20,000 calls came, on the system's monotonic clock."""
        return httpx.get(f"{self.url}/arrivals", timeout=5, trust_env=False).raise_for_status().json()

    def show(self, fault: str) -> None:
        """Answer from now on with this fault; with its share of the calls behind it when it is not all."""
        httpx.put(f"{self.url}/fault", content=fault, timeout=5, trust_env=False).raise_for_status()


@contextmanager
def fast_vendor(**options: object) -> Generator[FastVendor]:
    """Run one until the block ends.

    Args:
        options: of the program, e.g. `latency_ms=60`.

    Raises:
        TimeoutError: it does not listen after 20 s.
    """
    port = free_port()
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    process = subprocess.Popen([sys.executable, str(PROGRAM), "--port", str(port), *words], cwd=PROGRAM.parents[2])
    vendor = FastVendor(f"http://127.0.0.1:{port}")
    try:
        _wait(vendor, process)
        yield vendor
    finally:
        process.terminate()
        process.wait(STOP_S_MAX)


def _wait(vendor: FastVendor, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_S_MAX
    while time.monotonic() < end and process.poll() is None:
        try:
            vendor.calls()
        except httpx.TransportError:
            time.sleep(LOOK_EVERY_S)
        else:
            return
    raise TimeoutError(f"the fake vendor does not listen at {vendor.url}")
