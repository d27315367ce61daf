"""Home: one folder with everything the platform owns on this machine."""

import fcntl
import os
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from infra.local.errors import HomeBusy, PlatformError

LAYOUT = 1
"""Number of the layout of home; raised when a release has to move files."""

FOLDERS = ("keys", "run", "logs", "mlflow", "prefect", "engine", "audit", "prompts", "datasets")

SECRETS: dict[str, Callable[[], str]] = {
    "engine": lambda: secrets.token_urlsafe(32),
    "master": lambda: secrets.token_hex(32),  # AES-256
    "webhook": lambda: secrets.token_urlsafe(32),
    "mlflow-webhooks": lambda: urlsafe_b64encode(secrets.token_bytes(32)).decode(),  # the form Fernet wants
}
"""File under `keys/` and how its content is made, once."""


def prepare(home: Path) -> None:
    """Make the folders, the secrets (mode 600) and the version stamp; keeps whatever is there.

    Raises:
        PlatformError: home cannot be written, or was made by a newer release.
    """
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in FOLDERS:
            (home / folder).mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise PlatformError(f"cannot write to home {str(home)!r} ({error.strerror}); set ASSAY_HOME") from error
    _check_version(home / "VERSION")
    for name, make in SECRETS.items():
        write_secret(home / "keys" / name, make)


def write_secret(path: Path, make: Callable[[], str]) -> None:
    """Write a secret that only the owner can read; an existing one stays."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(descriptor, "w") as file:
        file.write(make())
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def locked(home: Path) -> Generator[None]:
    """Hold home for the time of one `up` or `down`.

    Raises:
        HomeBusy: another process holds it.
        PlatformError: home cannot be written.
    """
    with _open_lock(home) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise HomeBusy(
                f"another `assay up` or `assay down` (pid {holder}) is at work on {str(home)!r}; wait for it"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _open_lock(home: Path) -> TextIO:
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        return (home / "lock").open("a+")
    except OSError as error:
        raise PlatformError(f"cannot write to home {str(home)!r} ({error.strerror}); set ASSAY_HOME") from error


def _check_version(stamp: Path) -> None:
    if not stamp.exists():
        stamp.write_text(f"{LAYOUT}\n")
        return
    text = stamp.read_text().strip()
    if not text.isdecimal() or int(text) > LAYOUT:
        raise PlatformError(
            f"home {str(stamp.parent)!r} has layout {text!r} and this release knows {LAYOUT}; "
            "upgrade Assay or set ASSAY_HOME"
        )
