"""The processes of the platform: how each is started, where it listens, how it shows that it is well."""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from infra.local import health
from infra.local.errors import PlatformError
from infra.local.settings import LocalSettings

SOURCE_ROOT = Path(__file__).resolve().parents[2]
OWN_CODE = ("registry", "serving", "infra/local/engine", "infra/local/llm.py", "policies")
"""What the parts written by us are made of: when it changes, `up` restarts them."""

VENDORS = ("ANTHROPIC_", "OPENAI_")
"""Variables of the language models' vendors begin with these."""

POOL = "assay"
"""Name of Prefect's work pool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One process of the platform."""

    name: str
    title: str
    """For people."""
    command: tuple[str, ...]
    url: str
    """Where a person or a program reaches it."""
    healthy: Callable[[float], bool]
    """Is it well, as a process that started at this time (seconds since the epoch)?"""
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """What is added to the environment of the person who runs `up`."""
    port: int | None = None
    port_variable: str | None = None
    """The setting that moves it to another port."""
    needs: tuple[str, ...] = ()
    """Parts and steps that have to be done first."""
    answers_questions: bool = False
    """It runs the serving code, and so gets the vendors' keys and the master key; the others never see them."""
    fingerprint: str = ""
    """Changes when version or configuration change."""
    start_timeout_s: float = 180.0
    """A cold MLflow took 17 s on a quiet machine; ten times that on a very busy one."""


def parts(settings: LocalSettings) -> tuple[Part, ...]:
    """Every process that this configuration runs here; external servers are left out."""
    made = [_api(settings)]
    if settings.mlflow_tracking_uri is None:
        made.append(_mlflow(settings))
    if settings.prefect_api_url is None:
        made.append(_prefect(settings))
    made.append(_worker(settings))
    if settings.qdrant_url is None:
        made.append(_engine(settings))
    if settings.local_llm:
        made.append(_llm(settings))
    return tuple(made)


def external(settings: LocalSettings) -> dict[str, str]:
    """Servers that are used but not started here: name to URL."""
    given = {
        "mlflow": settings.mlflow_tracking_uri,
        "prefect": settings.prefect_api_url,
        "engine": settings.qdrant_url,
    }
    return {name: url for name, url in given.items() if url is not None}


def environment(part: Part, settings: LocalSettings) -> dict[str, str]:
    """Everything a part finds in its environment."""
    shared = base_environment(settings)
    if not part.answers_questions:
        shared = {name: value for name, value in shared.items() if not _is_secret(name)}
    return {**shared, **part.environment}


def base_environment(settings: LocalSettings) -> dict[str, str]:
    """The environment that the steps of `up` and the parts that answer questions share."""
    return {
        **os.environ,
        "ASSAY_HOME": str(settings.root),
        "ASSAY_HOST": settings.host,
        "ASSAY_API_PORT": str(settings.api_port),
        "ASSAY_MLFLOW_PORT": str(settings.mlflow_port),
        "ASSAY_PREFECT_PORT": str(settings.prefect_port),
        "ASSAY_QDRANT_PORT": str(settings.qdrant_port),
        "ASSAY_LLM_PORT": str(settings.llm_port),
        "PREFECT_HOME": str(settings.root / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # standard output is for results
        "DO_NOT_TRACK": "1",
        "PYTHONUNBUFFERED": "1",
        "ASSAY_POLICIES": str(Path(os.environ.get("ASSAY_POLICIES", SOURCE_ROOT / "policies")).absolute()),
    }


def _mlflow(settings: LocalSettings) -> Part:
    data = settings.root / "mlflow"
    store = f"sqlite:///{data / 'mlflow.db'}"
    command = (
        *(
            sys.executable,
            "-m",
            "mlflow",
            "server",
            "--host",
            "127.0.0.1",
            "--port",
            str(settings.mlflow_port),
        ),
        # `assay+` puts the gate before the model registry: aliases move on evidence.
        *("--backend-store-uri", store, "--registry-store-uri", f"assay+{store}"),
        *("--artifacts-destination", str(data / "artifacts"), "--serve-artifacts", "--workers", "1"),
    )
    environment = {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # 0.57 GB instead of 2.4 GB
        "MLFLOW_SQLALCHEMYSTORE_POOL_SIZE": "60",  # the default 5 + 10 stalls under evaluation
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",  # the push goes to this machine
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
        "MLFLOW_WEBHOOK_CACHE_TTL": "5",  # a webhook registered by `up` works within seconds, not after a minute
        "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": _secret(settings, "mlflow-webhooks"),
    }
    gate = {name: base_environment(settings).get(name, "") for name in ("ASSAY_DATABASE_URL", "ASSAY_POLICIES")}
    return Part(
        name="mlflow",
        title="MLflow",
        command=command,
        environment=environment,
        url=settings.mlflow_url,
        healthy=lambda _started: health.answers(f"{settings.mlflow_url}/health"),
        port=settings.mlflow_port,
        port_variable="ASSAY_MLFLOW_PORT",
        fingerprint=_fingerprint(command, environment | gate, _release("mlflow") + _own_code()),
    )


def _prefect(settings: LocalSettings) -> Part:
    port = str(settings.prefect_port)
    command = (sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", port)
    # The page in the browser asks this address; it defaults to port 4200 whatever the server's port is.
    environment = {
        "PREFECT_SERVER_UI_API_URL": settings.prefect_url,
        # A place among a deployment's runs is given back when its holder is gone, also after a restart of the server.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    }
    return Part(
        name="prefect",
        title="Prefect",
        command=command,
        environment=environment,
        url=settings.prefect_url.removesuffix("/api"),
        healthy=lambda _started: health.answers(f"{settings.prefect_url}/health"),
        port=settings.prefect_port,
        port_variable="ASSAY_PREFECT_PORT",
        fingerprint=_fingerprint(command, environment, _release("prefect")),
    )


def _worker(settings: LocalSettings) -> Part:
    command = (
        *(sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process"),
        *("--name", POOL, "--limit", "2"),
    )
    environment = {"PREFECT_API_URL": settings.prefect_url}
    # A flow run inherits the worker's environment, and answers with the providers that it names.
    configuration = {**_configuration(settings), **environment}
    return Part(
        name="worker",
        title="Prefect worker",
        command=command,
        environment=environment,
        url=f"{settings.prefect_url}/work_pools/{POOL}",
        healthy=lambda started: health.worker_online(settings.prefect_url, POOL, started),
        needs=("prefect",),
        answers_questions=True,
        fingerprint=_fingerprint(command, configuration, _release("prefect")),
    )


def _engine(settings: LocalSettings) -> Part:
    command = (sys.executable, "-m", "infra.local.engine")
    environment = {"ASSAY_HOST": "127.0.0.1", "QDRANT_API_KEY": _secret(settings, "engine")}
    return Part(
        name="engine",
        title="Vector engine",
        command=command,
        environment=environment,
        url=settings.engine_url,
        healthy=lambda _started: health.answers(f"{settings.engine_url}/readyz"),
        port=settings.qdrant_port,
        port_variable="ASSAY_QDRANT_PORT",
        fingerprint=_fingerprint(command, environment, _own_code()),
    )


def _llm(settings: LocalSettings) -> Part:
    command = (sys.executable, "-m", "infra.local.llm")
    url = f"http://127.0.0.1:{settings.llm_port}"
    return Part(
        name="llm",
        title="Local LLM",
        command=command,
        environment={"ASSAY_HOST": "127.0.0.1"},
        url=url,
        healthy=lambda _started: health.answers(f"{url}/health"),
        port=settings.llm_port,
        port_variable="ASSAY_LLM_PORT",
        fingerprint=_fingerprint(command, {"port": str(settings.llm_port)}, _own_code()),
    )


def _api(settings: LocalSettings) -> Part:
    command = (sys.executable, "-m", "flows.cli.main", "serve")
    return Part(
        name="api",
        title="API",
        command=command,
        url=settings.api_url,
        healthy=lambda _started: health.answers(f"{settings.api_url}/healthz"),
        port=settings.api_port,
        port_variable="ASSAY_API_PORT",
        needs=("migrate",),
        answers_questions=True,
        fingerprint=_fingerprint(command, _configuration(settings), _own_code()),
    )


def _configuration(settings: LocalSettings) -> dict[str, str]:
    """Every setting that changes how questions are answered."""
    watched = ("ASSAY_", *VENDORS, "QDRANT_", "MLFLOW_TRACKING_")
    given = {name: value for name, value in os.environ.items() if name.startswith(watched)}
    return {**given, "ASSAY_HOME": str(settings.root)}


def _is_secret(name: str) -> bool:
    return name.startswith(VENDORS) or name in {"ASSAY_MASTER_KEY", "ASSAY_WEBHOOK_SECRET", "ASSAY_KEY"}


def _secret(settings: LocalSettings, name: str) -> str:
    path = settings.root / "keys" / name
    return path.read_text().strip() if path.exists() else ""


def _release(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError as error:
        raise PlatformError(f"package {package!r} is not installed; install 'assay[platform,local]'") from error


def _fingerprint(command: tuple[str, ...], configuration: Mapping[str, str], release: str) -> str:
    """Hash of what a part was started with; secrets go in as a hash only."""
    return hashlib.sha256(json.dumps([command, dict(configuration), release], sort_keys=True).encode()).hexdigest()


@cache
def _own_code() -> str:
    """Hash of our own code, so that an edited checkout is restarted by the next `up`."""
    digest = hashlib.sha256(_release("assay").encode())
    for root in OWN_CODE:
        path = SOURCE_ROOT / root
        files = sorted(path.rglob("*.*")) if path.is_dir() else [path]
        for file in files:
            if file.suffix in {".py", ".yaml"} and file.is_file():
                digest.update(str(file.relative_to(SOURCE_ROOT)).encode() + file.read_bytes())
    return digest.hexdigest()
