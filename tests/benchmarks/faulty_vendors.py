"""Fake vendors with every fault, in a process of their own: `python -m tests.benchmarks.faulty_vendors`.

Three listen, one for each place in a chain. A question that says `faults: overloaded stall none.` tells each of them,
by its place, what to do. Their URLs come out as a JSON list; the process ends when its standard input does.
"""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any, cast, get_args

sys.path.insert(0, str(Path(__file__).parents[1]))  # the tests' own modules stand there

from fakes.fake_vendor import FakeVendor
from fakes.fake_vendor_faults import Fault, Plan

ROOT = Path(__file__).parents[2]
PLACES = 3
_WISH = re.compile(r"faults: ([a-z -]+)\.")


def question(faults: Sequence[str]) -> str:
    """What makes the vendors show these faults, the first one's first."""
    return f"faults: {' '.join(faults)}."


def every_fault() -> tuple[str, ...]:
    """The names of all faults, `none` among them."""
    return tuple(name for kind in get_args(Fault) for name in get_args(kind) or (kind,))


@contextmanager
def faulty_vendors() -> Generator[list[str]]:
    """Run them until the block ends; gives their URLs, without a path."""
    command = [sys.executable, "-m", "tests.benchmarks.faulty_vendors"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.stdin.close()


def _plan(place: int) -> Plan:
    def fault(_: int, body: Mapping[str, Any]) -> Fault:
        wish = _WISH.search(json.dumps(body))
        return cast("Fault", wish[1].split()[place]) if wish else "none"

    return fault


async def _run() -> None:
    async with AsyncExitStack() as stack:
        vendors = [await stack.enter_async_context(FakeVendor(_plan(place))) for place in range(PLACES)]
        sys.stdout.write(json.dumps([vendor.anthropic_url for vendor in vendors]) + "\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_run())
