"""Hybrid search as serving does it, against a no-op GET on the same vector engine over the same kind of connection.

2,000 passages of four tenants in the real engine behind its REST adapter; every search carries its tenant's filter, and
searches take turns with the no-op. A search embeds the question, asks for the nearest vectors and the best words, and
fuses the two; the embedding is also timed alone. Questions are words of a passage, so that each has something to find.
"""

import asyncio
import random
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
from fixtures_engine import ENGINE_KEY, EngineProcess
from qdrant_client import models
from rich.progress import Progress

from registry.corpus.bm25 import passage_weights
from registry.corpus.collection import DENSE, SPARSE, Corpus, point_id
from registry.corpus.search import search
from registry.embedding import load_embedder
from tests.benchmarks.measurement import Figure, percentile
from tests.benchmarks.serving_process import cpu_s

TENANTS = ("north", "south", "east", "west")
PASSAGES, WORDS, WORDS_ASKED, BATCH = 2_000, 15, 6, 100
SEARCHES, WARM_UP = 400, 20
SEED = 20_261_123
MS = 1000.0
SYLLABLES = ("ba", "den", "fi", "gor", "ku", "lam", "mo", "nis", "pe", "ro", "sta", "tu", "vel", "wi", "za")

Passages = dict[str, list[str]]
"""Tenant -> its passages."""


def benchmark(progress: Progress, folder: Path) -> Iterator[Figure]:
    """Latency percentiles of search and no-op, and the engine's CPU a search."""
    engine = EngineProcess(folder / "engine").start()
    assert engine.process is not None
    try:
        measured = asyncio.run(_measure(engine.url, psutil.Process(engine.process.pid), progress))
    finally:
        engine.stop()
    searches, empty, embeddings, engine_cpu_ms = measured
    for percent in (50, 99):
        other = percentile(empty, percent)
        yield Figure(name=f"no-op GET, p{percent}", value=other, unit="ms", n=len(empty))
        for name, values in (("embedding alone", embeddings), ("hybrid search", searches)):
            value = percentile(values, percent)
            yield Figure(
                name=f"{name}, p{percent}",
                value=value,
                unit="ms",
                n=len(values),
                reference="no-op GET",
                ratio=value / other,
            )
    yield Figure(name="hybrid search, CPU of the engine", value=engine_cpu_ms, unit="ms", n=SEARCHES)


async def _measure(
    url: str, engine: psutil.Process, progress: Progress
) -> tuple[list[float], list[float], list[float], float]:
    """Milliseconds of searches, no-ops and embeddings; the engine's CPU milliseconds a search with its no-op."""
    chance = random.Random(SEED)  # noqa: S311 - a reproducible draw, no secret
    corpus = Corpus(url, ENGINE_KEY, load_embedder())
    searches: list[float] = []
    empty: list[float] = []
    embeddings: list[float] = []
    try:
        passages = _passages(chance)
        await _fill(corpus, passages, progress)
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            for place in progress.track(range(WARM_UP + SEARCHES), description="vector_search: searches"):
                if place == WARM_UP:
                    before = cpu_s(engine)
                    searches, empty, embeddings = [], [], []
                tenant = TENANTS[place % len(TENANTS)]
                text = _question(chance, passages[tenant])
                start = time.perf_counter()
                await search(corpus, tenant, text)
                searched = time.perf_counter()
                (await client.get("/healthz")).raise_for_status()
                answered = time.perf_counter()
                corpus.embedder.embed([text])
                embedded = time.perf_counter()
                searches.append((searched - start) * MS)
                empty.append((answered - searched) * MS)
                embeddings.append((embedded - answered) * MS)
            spent = cpu_s(engine) - before
    finally:
        await corpus.aclose()
    return searches, empty, embeddings, spent * MS / SEARCHES


def _passages(chance: random.Random) -> Passages:
    """Invented words, frequent ones and rare ones as in a language (Zipf 1949)."""
    words = sorted({"".join(chance.choices(SYLLABLES, k=chance.randint(2, 4))) for _ in range(4_000)})
    chance.shuffle(words)
    weights = [1 / rank for rank in range(1, len(words) + 1)]
    return {
        tenant: [" ".join(chance.choices(words, weights, k=WORDS)) for _ in range(PASSAGES // len(TENANTS))]
        for tenant in TENANTS
    }


def _question(chance: random.Random, passages: list[str]) -> str:
    return " ".join(chance.sample(chance.choice(passages).split(), WORDS_ASKED))


async def _fill(corpus: Corpus, passages: Passages, progress: Progress) -> None:
    """The passages as ingest stores them, with real embeddings."""
    await corpus.ensure()
    task = progress.add_task("vector_search: passages", total=PASSAGES)
    for tenant, texts in passages.items():
        for start in range(0, len(texts), BATCH):
            some = texts[start : start + BATCH]
            vectors = await asyncio.to_thread(corpus.embedder.embed, some)
            points = [
                _point(tenant, start + place, text, vector.tolist())
                for place, (text, vector) in enumerate(zip(some, vectors, strict=True))
            ]
            await corpus.upsert(points)
            progress.advance(task, len(points))


def _point(tenant: str, position: int, text: str, vector: list[float]) -> models.PointStruct:
    weights = passage_weights(text)
    words = models.SparseVector(indices=weights.indices, values=weights.values)
    payload = {"tenant": tenant, "document": "words.txt", "position": position, "text": text}
    return models.PointStruct(
        id=point_id(tenant, "words.txt", position), vector={DENSE: vector, SPARSE: words}, payload=payload
    )
