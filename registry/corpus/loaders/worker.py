"""The process that reads files: bytes in on standard input, one answer out, again and again.

It gets no path, no key and no environment, may not write files, and lives within a memory limit; whoever feeds it
kills it when it takes too long. Frames are a four-byte length and that many bytes.
"""

import json
import os
import resource
import struct
import sys
from typing import BinaryIO

from registry.corpus.loaders.formats import load
from registry.corpus.loaders.records import DocumentProblem, LoadLimits

LENGTH = struct.Struct(">I")


def main() -> None:
    """Answer until standard input closes."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a library's print cannot get between the frames
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while (header := read_frame(sys.stdin.buffer)) is not None:
        content = read_frame(sys.stdin.buffer)
        if content is None:
            return
        answer = json.dumps(_answer(header, content)).encode()
        answers.write(LENGTH.pack(len(answer)) + answer)
        answers.flush()


def read_frame(stream: BinaryIO) -> bytes | None:
    """One frame; None when the other side is gone."""
    prefix = stream.read(LENGTH.size)
    if len(prefix) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(prefix)
    frame = stream.read(length)
    return frame if len(frame) == length else None


def _answer(header: bytes, content: bytes) -> dict[str, object]:
    request = json.loads(header)
    limits = LoadLimits(**request["limits"])
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes_max, limits.memory_bytes_max))
    try:
        return {"document": load(request["name"], content, limits).model_dump()}
    except DocumentProblem as problem:
        return {"problem": problem.message}
    except MemoryError:
        return {
            "problem": f"needs more than {limits.memory_bytes_max // 1_000_000} MB once it is unpacked; split the file"
        }
    except RecursionError:
        return {"problem": "is nested too deeply to be read"}


if __name__ == "__main__":
    main()
