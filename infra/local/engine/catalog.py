"""All collections of a data directory, which belongs to one process at a time.

Layout: `LOCK`, and for each collection `NAME/collection.json` beside `NAME/0001/`, the shard. A collection
exists from the moment its `collection.json` does until the moment it no longer does, so that a process killed
half-way leaves nothing half-made.
"""

import fcntl
import json
import logging
import os
import re
import shutil
from pathlib import Path
from typing import IO, Any

import orjson
from pydantic import ValidationError
from qdrant_edge import EdgeShard

from infra.local.engine.bodies import CollectionConfig
from infra.local.engine.collection import Collection
from infra.local.engine.problems import Broken, Conflict, NotFound, StartRefused, WrongInput
from infra.local.engine.shards import create_shard, load_shard

logger = logging.getLogger(__name__)

COLLECTIONS_MAX = 64
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
STATE = "collection.json"


class Catalog:
    """Opens, creates and deletes collections."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock: IO[str] | None = None
        self._open: dict[str, Collection] = {}
        self._unreadable: dict[str, str] = {}
        """Collections that the engine could not load: name to its reason."""

    def start(self) -> None:
        """Take the directory and load what is in it; a collection that cannot be loaded stops no other.

        Raises:
            StartRefused: another process owns the directory.
        """
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = (self.directory / "LOCK").open("a")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StartRefused(
                f"another engine already uses {self.directory}; stop it, or set another ASSAY_HOME"
            ) from error
        for path in sorted(entry for entry in self.directory.iterdir() if entry.is_dir()):
            self._load(path)

    def close(self) -> None:
        """Flush and close every collection, then let the directory go."""
        for collection in self._open.values():
            collection.close()
        self._open.clear()
        if self._lock is not None:
            self._lock.close()

    @property
    def names(self) -> list[str]:
        """Every collection, readable or not, by name."""
        return sorted([*self._open, *self._unreadable])

    @property
    def collections(self) -> list[Collection]:
        """Every open collection."""
        return list(self._open.values())

    def get(self, name: str) -> Collection:
        """The collection of that name.

        Raises:
            NotFound: there is none.
            Broken: it is there, and the engine could not load it.
        """
        if name in self._unreadable:
            raise Broken(f"collection {name!r} could not be loaded: {self._unreadable[name]}")
        try:
            return self._open[name]
        except KeyError:
            raise NotFound(f"Not found: Collection `{name[:100]}` doesn't exist!") from None

    def create(self, name: str, config: CollectionConfig) -> None:
        """Make an empty collection.

        Raises:
            Conflict: the name is taken.
            WrongInput: not a usable name, or too many collections.
        """
        if not NAME.fullmatch(name):
            raise WrongInput("Wrong input: a collection name is 1 to 64 letters, digits, '-' and '_'")
        if name in self.names:
            raise Conflict(f"Wrong input: Collection `{name}` already exists!")
        if len(self.names) >= COLLECTIONS_MAX:
            raise WrongInput(f"Wrong input: there are {COLLECTIONS_MAX} collections already; delete one")
        path = self.directory / name
        shutil.rmtree(path, ignore_errors=True)
        shard = create_shard(path / _generation(1), config)
        self._write_state(name, config, 1)
        self._open[name] = Collection(name, config, shard, 1)

    def add_metadata(self, name: str, metadata: dict[str, Any]) -> None:
        """Merge notes into the collection's configuration.

        Raises:
            WrongInput: together they are too large.
        """
        collection = self.get(name)
        merged = {**(collection.config.metadata or {}), **metadata}
        given = collection.config.model_dump(exclude_none=True)
        try:
            config = CollectionConfig.model_validate({**given, "metadata": merged})
        except ValidationError as error:
            raise WrongInput(f"Wrong input: metadata: {error.errors()[0]['msg']}") from error
        self._write_state(name, config, collection.generation)
        collection.config = config

    def directory_of(self, collection: Collection) -> Path:
        """Where the collection's shard is."""
        return self.directory / collection.name / _generation(collection.generation)

    def next_generation(self, collection: Collection) -> Path:
        """Where a successor of the collection's shard belongs."""
        return self.directory / collection.name / _generation(collection.generation + 1)

    def switch(self, collection: Collection, shard: EdgeShard) -> None:
        """Let the next generation, loaded as `shard` and up to date, take the place of the present one."""
        self._write_state(collection.name, collection.config, collection.generation + 1)
        collection.close()
        collection.shard = shard
        collection.generation += 1

    def delete(self, name: str) -> bool:
        """Remove a collection and its data; False when there is none."""
        if name not in self.names:
            return False
        path = self.directory / name
        (path / STATE).unlink(missing_ok=True)
        self._unreadable.pop(name, None)
        collection = self._open.pop(name, None)
        if collection is not None:
            collection.close()
        shutil.rmtree(path, ignore_errors=True)
        return True

    def _load(self, path: Path) -> None:
        if not (path / STATE).exists():
            logger.warning("removing %s: its creation or deletion was interrupted", path.name)
            shutil.rmtree(path, ignore_errors=True)
            return
        try:
            config, generation = _read_state(path)
            self._remove_other_generations(path, generation)
            shard = load_shard(path / _generation(generation))
            self._open[path.name] = Collection(path.name, config, shard, generation)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # the engine raises bare Exception, and its panics are not even that
            logger.exception("collection %r could not be loaded", path.name)
            self._unreadable[path.name] = str(error).partition("\n")[0][:300]

    def _remove_other_generations(self, path: Path, generation: int) -> None:
        for entry in path.iterdir():
            if entry.is_dir() and entry.name != _generation(generation):
                shutil.rmtree(entry, ignore_errors=True)

    def _write_state(self, name: str, config: CollectionConfig, generation: int) -> None:
        """Replace collection.json in one step, durably."""
        path = self.directory / name / STATE
        unfinished = path.with_suffix(".new")
        state = {"generation": generation, "config": config.model_dump(exclude_none=True)}
        with unfinished.open("wb") as file:
            file.write(orjson.dumps(state))
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)


def _generation(number: int) -> str:
    return f"{number:04d}"


def _read_state(path: Path) -> tuple[CollectionConfig, int]:
    state = json.loads((path / STATE).read_bytes())
    return CollectionConfig.model_validate(state["config"]), int(state["generation"])
