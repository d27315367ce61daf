"""Runs the application under uvicorn, with as many worker processes as asked for."""

import os
import shutil
from pathlib import Path
from typing import Any

import uvicorn

from registry.database import open_database
from serving.json_logs import log_config
from serving.metrics import SHARED_DIRECTORY
from serving.settings import ServingSettings
from serving.wiring import require_settings

GRACE_S = 20
"""How long calls in flight may go on after the process is told to stop."""
KEEP_ALIVE_S = 75
"""Longer than the usual 60 s of a proxy, so that the proxy is the one that closes."""


def run(*, port: int | None = None, workers: int = 1) -> None:
    """Serve until told to stop.

    Args:
        port: instead of ASSAY_API_PORT.
        workers: processes, each a whole API; they share the registry and nothing else.

    Raises:
        ExposedWithoutGuard: ASSAY_HOST is not loopback and a guard is missing.
        AssayError: a key, a policy or the database cannot be used.
    """
    settings = ServingSettings()
    settings.require_guards()
    require_startable(settings)
    if workers > 1:
        _share_metrics(settings.home / "run" / "metrics")
    options: dict[str, Any] = {}
    if settings.tls_certificate is not None:
        options |= {"ssl_certfile": settings.tls_certificate, "ssl_keyfile": settings.tls_key}
    uvicorn.run(
        "serving.app:create_app",
        factory=True,
        host=settings.host,
        port=settings.api_port if port is None else port,
        workers=workers,
        loop="uvloop",
        ws="none",
        lifespan="on",
        log_config=log_config(),
        access_log=False,  # the application writes its own, with request ids and without addresses
        server_header=False,
        proxy_headers=settings.behind_proxy,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
        **options,
    )


def require_startable(settings: ServingSettings) -> None:
    """Find here, once, what would make every worker fail and be started again for ever.

    Raises:
        AssayError: a key, a policy, a provider's setting or the database cannot be used.
    """
    require_settings(settings)
    for secret in (settings.master_key, settings.webhook_secret, settings.engine_key):
        del secret  # reading it is the check
    open_database(settings.database_url).close()


def _share_metrics(directory: Path) -> None:
    """A directory for the numbers of this server's workers, who inherit the variable that names it.

    Each server has its own, named by its process; those of servers that ended are removed.
    """
    for left in directory.glob("[0-9]*"):
        if not _is_alive(int(left.name)):
            shutil.rmtree(left, ignore_errors=True)
    own = directory / str(os.getpid())
    own.mkdir(parents=True)
    os.environ[SHARED_DIRECTORY] = str(own)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return process != os.getpid()
