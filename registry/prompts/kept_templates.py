"""Templates that were proven, on disk by content hash: what serves while MLflow is away, or holds something else."""

import logging
import os
import re
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from registry.prompts.schema import PromptTemplate, content_hash

KEPT_MAX = 20
"""Templates kept of one prompt; the one written longest ago goes first, and comes back when it serves again."""
_HASH = re.compile(r"[0-9a-f]{64}")

logger = logging.getLogger(__name__)


class KeptTemplates:
    """One file a template, named by the hash of its content: what does not hash to its name is not believed.

    Args:
        directory: Holds one folder a prompt; several processes may share it.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def find(self, name: str, wanted: str) -> PromptTemplate | None:
        """The template of this content; None without a sound file."""
        if not _HASH.fullmatch(wanted):
            return None
        try:
            template = PromptTemplate.model_validate_json(self._path(name, wanted).read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError):
            logger.warning("unreadable kept prompt", extra={"fields": {"prompt": name, "content_hash": wanted}})
            return None
        if (template.name, content_hash(template)) != (name, wanted):
            logger.warning("altered kept prompt", extra={"fields": {"prompt": name, "content_hash": wanted}})
            return None
        return template

    def keep(self, template: PromptTemplate) -> None:
        """Write the file whole or not at all, unless it is there; without room on disk a line in the log says so."""
        own = content_hash(template)
        if self.find(template.name, own) is not None:
            return
        path = self._path(template.name, own)
        part = path.with_name(f"{own}.{os.getpid()}.{id(template)}.part")  # several workers write the same one at once
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("w", encoding="utf-8") as file:
                file.write(template.model_dump_json(exclude_defaults=True))
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
            self._forget_oldest(path.parent)
        except OSError:
            with suppress(OSError):
                part.unlink()
            logger.exception("cannot keep a proven prompt", extra={"fields": {"prompt": template.name}})

    def _forget_oldest(self, folder: Path) -> None:
        """Removed by another worker meanwhile is as good."""
        written: list[tuple[float, Path]] = []
        for path in folder.glob("*.json"):
            with suppress(FileNotFoundError):
                written.append((path.stat().st_mtime, path))
        for _, path in sorted(written)[:-KEPT_MAX]:
            path.unlink(missing_ok=True)

    def _path(self, name: str, wanted: str) -> Path:
        return self._directory / name / f"{wanted}.json"
