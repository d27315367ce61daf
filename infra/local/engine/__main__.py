"""The process: `python -m infra.local.engine`."""

import logging
import os
import signal
import socket
import sys

import uvicorn

from infra.local.engine.app import create_app
from infra.local.engine.catalog import Catalog
from infra.local.engine.problems import StartRefused
from infra.local.engine.settings import EngineSettings, from_environment


def main() -> int:
    """Serve until SIGTERM; 1 with one sentence on standard error when it cannot start."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        settings = from_environment(os.environ)
        listener = _listen(settings)
        catalog = Catalog(settings.data)
        catalog.start()
    except StartRefused as refused:
        sys.stderr.write(f"{refused}\n")
        return 1
    config = uvicorn.Config(
        create_app(settings, catalog),
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=5,
        limit_concurrency=256,
    )
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # uvicorn stops on it, and raises it once more afterwards
    uvicorn.Server(config).run(sockets=[listener])
    return 0


def _listen(settings: EngineSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        raise StartRefused(
            f"cannot listen on {settings.host}:{settings.port} ({error.strerror}); set ASSAY_QDRANT_PORT"
        ) from error
    return listener


if __name__ == "__main__":
    raise SystemExit(main())
