"""The parent's side of the loader: hand bytes over, wait so long and no longer."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from dataclasses import asdict
from types import TracebackType
from typing import Final, Self

from registry.corpus.loaders.records import DocumentProblem, LoadedDocument, LoadLimits
from registry.corpus.loaders.worker import LENGTH

WORKER: Final = (sys.executable, "-P", "-m", "registry.corpus.loaders.worker")
ANSWER_BYTES_MAX: Final = 64_000_000
_EXIT_WAIT_S: Final = 5.0


class LoaderProcess:
    """Reads documents in a child process; starts it when needed, kills it when a file takes too long.

    Use as an async context manager, one file at a time.
    """

    def __init__(self, limits: LoadLimits, command: Sequence[str] = WORKER) -> None:
        self._limits = limits
        self._command = command
        self._process: Process | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def load(self, name: str, content: bytes) -> LoadedDocument:
        """Read one file's bytes.

        Raises:
            DocumentProblem: the file is no document, took too long, or brought the reader down.
        """
        limit_s = self._limits.seconds_max
        try:
            async with asyncio.timeout(limit_s):
                answer = await self._ask(name, content)
        except TimeoutError as error:
            await self._stop()
            raise DocumentProblem(f"took longer than {limit_s:g} s to read and was stopped; split the file") from error
        except (OSError, EOFError) as error:
            await self._stop()
            raise DocumentProblem("brought its reader down (damaged, or far too large once unpacked)") from error
        except BaseException:  # cancelled half-way: the pipe is out of step, so this process is of no more use
            await self._stop()
            raise
        if "problem" in answer:
            raise DocumentProblem(str(answer["problem"]))
        return LoadedDocument.model_validate(answer["document"])

    async def _ask(self, name: str, content: bytes) -> dict[str, object]:
        if self._process is None:
            kept = {key: os.environ[key] for key in ("PYTHONPATH", "SYSTEMROOT") if key in os.environ}
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env={**kept, "PYTHONUTF8": "1"}
            )
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None  # noqa: S101, PT018 - both were asked for as pipes
        for frame in (json.dumps({"name": name, "limits": asdict(self._limits)}).encode(), content):
            stdin.write(LENGTH.pack(len(frame)) + frame)
            await stdin.drain()
        (length,) = LENGTH.unpack(await stdout.readexactly(LENGTH.size))
        if length > ANSWER_BYTES_MAX:
            raise EOFError
        return json.loads(await stdout.readexactly(length))

    async def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            process.kill()
        if process.stdin is not None:
            process.stdin.close()
        async with asyncio.timeout(_EXIT_WAIT_S):
            await process.wait()
