"""What could be wrong with this machine: each check says what it means and what to do."""

import importlib.util
import shutil
import sys
from dataclasses import asdict, dataclass
from typing import Literal

import psutil

from infra.local import processes
from infra.local.parts import parts
from infra.local.settings import LocalSettings

DISK_MIN_BYTES = 1_000_000_000
MEMORY_MIN_BYTES = 2_000_000_000
"""The idle platform takes about 1.2 GB."""
PACKAGES = ("mlflow", "prefect", "qdrant_edge", "qdrant_client", "onnxruntime", "typer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of `assay doctor`."""

    name: str
    state: Literal["ok", "warning", "failed"]
    message: str

    def as_dict(self) -> dict[str, str]:
        """For `--json`."""
        return asdict(self)


def machine_checks(settings: LocalSettings) -> list[Check]:
    """Python, packages, disk, memory, home and ports."""
    return [_python(), _packages(settings), _disk(settings), _memory(), _home(settings), *_ports(settings)]


def _python() -> Check:
    text = ".".join(map(str, sys.version_info[:3]))
    return Check(name="python", state="ok", message=f"Python {text}")


def _packages(settings: LocalSettings) -> Check:
    wanted = (*PACKAGES, "xllamacpp") if settings.local_llm else PACKAGES
    missing = [package for package in wanted if importlib.util.find_spec(package) is None]
    if missing:
        advice = f"missing {', '.join(missing)}; run `make up`, or install 'assay[platform,local]'"
        return Check(name="packages", state="failed", message=advice)
    return Check(name="packages", state="ok", message=f"{len(wanted)} needed packages are installed")


def _disk(settings: LocalSettings) -> Check:
    place = settings.root
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    state = "ok" if free >= DISK_MIN_BYTES else "failed"
    return Check(name="disk", state=state, message=f"{free / 1e9:.1f} GB free at {place}; at least 1 GB is needed")


def _memory() -> Check:
    free = psutil.virtual_memory().available
    state = "ok" if free >= MEMORY_MIN_BYTES else "warning"
    return Check(name="memory", state=state, message=f"{free / 1e9:.1f} GB available; the idle platform takes 1.2 GB")


def _home(settings: LocalSettings) -> Check:
    root = settings.root
    if not root.exists():
        return Check(name="home", state="warning", message=f"{root} does not exist yet; `assay up` makes it")
    loose = [file.name for file in (root / "keys").glob("*") if file.stat().st_mode & 0o077]
    if loose:
        message = f"others may read {', '.join(sorted(loose))} in {root / 'keys'}; run chmod 600 on them"
        return Check(name="home", state="failed", message=message)
    return Check(name="home", state="ok", message=str(root))


def _ports(settings: LocalSettings) -> list[Check]:
    checks: list[Check] = []
    for part in parts(settings):
        running = processes.find(settings.root, part.name)
        if running is not None and running.alive():
            well = part.healthy(running.started)
            log = processes.log_path(settings.root, part.name)
            message = f"runs at {part.url}" if well else f"runs but does not answer at {part.url}; see {log}"
            checks.append(Check(name=part.name, state="ok" if well else "failed", message=message))
        elif part.port is not None and (holder := processes.port_holder(part.port)):
            message = f"port {part.port} is taken by {holder}; stop it or set {part.port_variable}"
            checks.append(Check(name=part.name, state="failed", message=message))
        else:
            checks.append(Check(name=part.name, state="warning", message="not running; `assay up` starts it"))
    return checks
