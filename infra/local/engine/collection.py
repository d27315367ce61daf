"""One collection: its shard on disk and every call on it.

The engine holds Python's global lock in every call (0.1 ms for a search, 3 ms for 100 points), so threads gain
nothing: calls are made one after the other on the event loop, and their sizes are limited. Whatever could be
written to the engine's log and not be read back is refused before: the log is replayed at every start.
"""
# pyright: basic
# The engine's stub spells enum constructors and unions that strict mode cannot follow.

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import qdrant_edge as edge

from infra.local.engine import answers
from infra.local.engine.bodies import (
    CollectionConfig,
    Dense,
    IndexParams,
    NewIndex,
    NewPoint,
    PayloadChange,
    PayloadRemoval,
    Selection,
    Sparse,
)
from infra.local.engine.filters import engine_filter
from infra.local.engine.problems import Broken, EngineProblem, NotFound, WrongInput
from infra.local.engine.queries import Count, Query, Retrieve, Scroll, engine_query, engine_scroll, payload_wanted
from infra.local.engine.shards import index_params, index_types

logger = logging.getLogger(__name__)

INDEXES_MAX = 64
JOURNAL_MAX = 20_000
"""Points written while a copy is optimised; beyond that the copy is given up. 20,000 take about 0.6 s to repeat."""


class Collection:
    """Reads and writes of one shard; not thread-safe, and made for one thread."""

    def __init__(
        self,
        name: str,
        config: CollectionConfig,
        shard: edge.EdgeShard,
        generation: int,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.config = config
        self.shard = shard
        self.generation = generation
        """Which of the shards on disk this is; counts up with every optimisation."""
        self.writing = asyncio.Lock()
        """Held by a write, and while the shard is copied or replaced."""
        self.indexes: Mapping[str, str] = index_types(shard.info())
        self.unflushed = 0
        """Points touched since the last flush."""
        self.unoptimized = shard.info().points_count
        """Points touched since the last optimisation; after a start all of them might be."""
        self.written_at = clock()
        """When the last write was, by `clock`."""
        self.journal: list[edge.UpdateOperation] | None = None
        """Writes since a copy was taken to be optimised; None when there is no such copy."""
        self._journal_points = 0
        self._clock = clock
        self._operations = 0
        self._broken = False
        dense = config.vectors if isinstance(config.vectors, dict) else {"": config.vectors} if config.vectors else {}
        self._sizes = {vector: params.size for vector, params in dense.items()}
        self._sparse = frozenset(config.sparse_vectors or {})

    # --- writes ---

    def upsert(self, points: list[NewPoint]) -> dict[str, Any]:
        """Insert or replace points: all of them, or none when one does not fit.

        Raises:
            WrongInput: a vector has the wrong name, kind or size.
        """
        for point in points:
            self._check_vectors(point)
        with self._engine():
            made = [edge.Point(point.id, _vectors(point), point.payload or {}) for point in points]
            return self._write(edge.UpdateOperation.upsert_points(made), len(made))

    def delete(self, chosen: Selection) -> dict[str, Any]:
        """Delete points by id or filter; absent ids are no error."""
        update = edge.UpdateOperation
        return self._change(chosen, update.delete_points, update.delete_points_by_filter)

    def set_payload(self, change: PayloadChange) -> dict[str, Any]:
        """Set some payload keys and keep the others."""
        update = edge.UpdateOperation
        return self._change(change, update.set_payload, update.set_payload_by_filter, change.payload)

    def overwrite_payload(self, change: PayloadChange) -> dict[str, Any]:
        """Replace the whole payload."""
        update = edge.UpdateOperation
        return self._change(change, update.overwrite_payload, update.overwrite_payload_by_filter, change.payload)

    def delete_payload(self, removal: PayloadRemoval) -> dict[str, Any]:
        """Delete payload keys."""
        update = edge.UpdateOperation
        return self._change(removal, update.delete_payload, update.delete_payload_by_filter, removal.keys)

    def clear_payload(self, chosen: Selection) -> dict[str, Any]:
        """Delete the whole payload."""
        update = edge.UpdateOperation
        return self._change(chosen, update.clear_payload, update.clear_payload_by_filter)

    def create_index(self, index: NewIndex) -> dict[str, Any]:
        """Index a payload field; an index of another type is replaced.

        Raises:
            WrongInput: an option does not belong to this type, or there are too many indexes.
        """
        if index.field_name not in self.indexes and len(self.indexes) >= INDEXES_MAX:
            raise WrongInput(f"Wrong input: there are {INDEXES_MAX} payload indexes already; delete one")
        schema = index.field_schema
        wanted = schema if isinstance(schema, IndexParams) else IndexParams(type=schema)
        with self._engine():
            params = index_params(wanted)
            written = self._write(edge.UpdateOperation.create_field_index(index.field_name, params), 0)
        self.indexes = index_types(self.shard.info())
        return written

    def delete_index(self, field: str) -> dict[str, Any]:
        """Drop the index of a field; an absent one is no error."""
        if field not in self.indexes:
            return self._acknowledged()
        with self._engine():
            written = self._write(edge.UpdateOperation.delete_field_index(field), 0)
        self.indexes = index_types(self.shard.info())
        return written

    # --- reads ---

    def query(self, queries: list[Query]) -> list[list[dict[str, Any]]]:
        """One list of scored points for each query."""
        with self._engine():
            made = [engine_query(query, self.indexes) for query in queries]
            return [answers.scored(found) for found in self.shard.query_batch(edge.QueryBatchRequest(made))]

    def scroll(self, scroll: Scroll) -> dict[str, Any]:
        """A page of points by id, and where the next page begins."""
        with self._engine():
            found, following = self.shard.scroll(engine_scroll(scroll, self.indexes))
            return {"points": answers.records(found), "next_page_offset": answers.point_id(following)}

    def count(self, count: Count) -> dict[str, Any]:
        """How many points pass a filter."""
        with self._engine():
            narrowed = engine_filter(count.filter, self.indexes)
            return {"count": self.shard.count(edge.CountRequest(exact=True, filter=narrowed))}

    def retrieve(self, wanted: Retrieve) -> list[dict[str, Any]]:
        """Points by id; absent ones are left out."""
        with self._engine():
            payload = payload_wanted(wanted.with_payload)
            return answers.records(self.shard.retrieve(list(wanted.ids), payload, wanted.with_vector))

    def info(self) -> dict[str, Any]:
        """What Qdrant tells about a collection."""
        with self._engine():
            return answers.collection_info(self.shard.info(), self.config, optimizing=self.journal is not None)

    # --- the shard itself ---

    def start_journal(self) -> None:
        """Remember writes from here on, for a copy of the shard."""
        self.journal = []
        self._journal_points = 0

    def flush(self) -> None:
        """Bring everything to disk and shorten the log that a start replays (about 50 ms)."""
        with self._engine():
            self.shard.flush()
        self.unflushed = 0

    def close(self) -> None:
        """Flush and let the shard go; failures are logged, because nothing can be done about them."""
        try:
            with self._engine():
                self.shard.close()
        except EngineProblem:
            logger.exception("collection %r did not close well", self.name)

    def _change(
        self,
        chosen: Selection,
        by_ids: Callable[..., edge.UpdateOperation],
        by_filter: Callable[..., edge.UpdateOperation],
        *arguments: Any,
    ) -> dict[str, Any]:
        with self._engine():
            if chosen.filter is None:
                ids = chosen.points or []
                return self._write(by_ids(ids, *arguments), len(ids)) if ids else self._acknowledged()
            narrowed = engine_filter(chosen.filter, self.indexes)
            touched = self.shard.count(edge.CountRequest(exact=True, filter=narrowed))
            return self._write(by_filter(narrowed, *arguments), touched)

    def _write(self, operation: edge.UpdateOperation, points: int) -> dict[str, Any]:
        self.shard.update(operation)
        if self.journal is not None:
            self.journal.append(operation)
            self._journal_points += max(points, 1)
            if self._journal_points > JOURNAL_MAX:
                self.journal = None
        self.unflushed += max(points, 1)
        self.unoptimized += points
        self.written_at = self._clock()
        return self._acknowledged()

    def _acknowledged(self) -> dict[str, Any]:
        self._operations += 1
        return {"operation_id": self._operations, "status": "completed"}

    def _check_vectors(self, point: NewPoint) -> None:
        vectors: Mapping[str, Dense | Sparse] = point.vector if isinstance(point.vector, dict) else {"": point.vector}
        for name, vector in vectors.items():
            if name not in (self._sparse if isinstance(vector, Sparse) else self._sizes):
                raise WrongInput(f"Wrong input: Not existing vector name error: {name!r} (or of the other kind)")
            if not isinstance(vector, Sparse) and len(vector) != self._sizes[name]:
                raise WrongInput(
                    f"Wrong input: Vector dimension error: expected dim: {self._sizes[name]}, got {len(vector)}"
                )

    @contextmanager
    def _engine(self) -> Iterator[None]:
        """Turn what the engine raises into our problems."""
        if self._broken:
            raise Broken(f"collection {self.name!r} failed inside the engine; see its log and restart it")
        try:
            yield
        except EngineProblem:
            raise
        except Exception as error:  # the engine raises bare Exception
            raise self._translated(error) from error
        except BaseException as error:  # a panic is no Exception; the rest is raised on
            if type(error).__name__ != "PanicException":  # Rust's panic, which derives from BaseException
                raise
            self._broken = True
            logger.exception("the engine panicked in collection %r", self.name)
            raise Broken(f"collection {self.name!r} failed inside the engine; see its log and restart it") from error

    def _translated(self, error: Exception) -> EngineProblem:
        message = str(error).partition("\n")[0][:300]
        if message.startswith("No point with id"):
            return NotFound(f"Not found: {message}")
        if message.startswith("Service "):  # the engine's own trouble, e.g. a full disk
            logger.error("collection %r: %s", self.name, message)
            return Broken(f"collection {self.name!r}: {message}")
        return WrongInput(f"Wrong input: {message}")


def _vectors(point: NewPoint) -> Any:
    if not isinstance(point.vector, dict):
        return point.vector
    return {
        name: edge.SparseVector(vector.indices, vector.values) if isinstance(vector, Sparse) else vector
        for name, vector in point.vector.items()
    }
