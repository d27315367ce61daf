"""Child process: `python -m infra.local.engine.optimize DIRECTORY` merges and indexes the segments of a shard.

Exit 0: optimised; 3: it was optimal already. It stands alone, because it should weigh little.
"""

import ctypes
import os
import signal
import sys

import qdrant_edge as edge

OPTIMIZED = 0
ALREADY_OPTIMAL = 3
NICENESS = 10
PR_SET_PDEATHSIG = 1


def main(directory: str) -> int:
    """Optimise the shard; answers to people come first, hence the niceness."""
    _die_with_parent()
    os.nice(NICENESS)
    shard = edge.EdgeShard.load(directory)
    changed = shard.optimize()
    shard.close()
    return OPTIMIZED if changed else ALREADY_OPTIMAL


def _die_with_parent() -> None:
    """A killed engine must not leave its child behind; only Linux can promise that."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
