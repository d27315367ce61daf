"""Stand-ins at the rim of the serving process: a model, prompts, an embedder. Everything between them is real."""

import asyncio
import hashlib
import re
import warnings
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qdrant_client import AsyncQdrantClient, models

from registry.claims import Draft, DraftClaim, write_answer
from registry.corpus.bm25 import passage_weights
from registry.corpus.collection import DENSE, SPARSE, Corpus, point_id
from registry.database import Database
from registry.embedding import DIMENSIONS, Embedder
from registry.errors import AssayError
from registry.messages import Completion, CompletionRequest, Delta, StreamEvent, Usage
from registry.prompts.promotion_records import (
    Promotion,
    ServingModel,
    valid_promotions,
    write_promotion,
)
from registry.prompts.revocation import revoke_promotions
from registry.prompts.schema import PromptTemplate, Variable, content_hash
from registry.prompts.versions import PromotedVersion, PromptNotFound

FACT = "The return rate was 7 percent in 2026."
"""What the sample document says."""

PIECE_CHARS = 7
"""Characters of a streamed piece: short enough to cut words and marks."""

INSIGHTS_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"answer": {"type": "string"}, "claims": {"type": "array"}},
    "required": ["answer", "claims"],
}


class FakeEmbedder(Embedder):
    """Hashes words into 384 dimensions: texts that share words are close."""

    def __init__(self) -> None:
        self.model_id = "fake-embedder"

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts."""
        rows = np.full((len(texts), DIMENSIONS), 1e-3, dtype=np.float32)
        for row, text in enumerate(texts):
            for word in re.findall(r"\w+", text.lower()):
                rows[row, int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big") % DIMENSIONS] += 1
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def fake_corpus() -> Corpus:
    """An empty corpus on Qdrant's in-process engine."""
    return Corpus("", None, FakeEmbedder(), client=AsyncQdrantClient(":memory:"))


async def add_document(corpus: Corpus, tenant: str, document: str, *texts: str) -> None:
    """Put passages where ingest would put them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the in-process engine says that it needs no payload indexes
        await corpus.ensure()
    points: list[models.PointStruct] = []
    for position, text in enumerate(texts):
        indices, values = passage_weights(text)
        vector: dict[str, Any] = {
            DENSE: corpus.embedder.embed([text])[0].tolist(),
            SPARSE: models.SparseVector(indices=indices, values=values),
        }
        payload = {"tenant": tenant, "document": document, "position": position, "text": text}
        points.append(models.PointStruct(id=point_id(tenant, document, position), vector=vector, payload=payload))
    await corpus.upsert(points)


Answer = Callable[[CompletionRequest], Awaitable[Completion]]


class FakeProvider:
    """A model that quotes its first passage, or does what a test tells it to."""

    name = "scripted"
    model = "scripted"

    def __init__(self) -> None:
        self.requests: list[CompletionRequest] = []
        self.answer: Answer = self.quote
        self.closed = False

    async def complete(self, request: CompletionRequest) -> Completion:
        """Answer as told."""
        self.requests.append(request)
        return await self.answer(request)

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent]:
        """Answer as told, a few characters at a time."""
        completion = await self.complete(request)
        for start in range(0, len(completion.text), PIECE_CHARS):
            yield Delta(text=completion.text[start : start + PIECE_CHARS])
        yield completion

    async def ping(self) -> None:
        """Always there."""

    async def quote(self, request: CompletionRequest) -> Completion:
        """Quote the first passage."""
        assert request.material is not None
        passages = request.material.passages
        claims = (DraftClaim(text=passages[0].text, citations=("P1",)),) if passages else ()
        draft = Draft(answer=passages[0].text if passages else "No idea.", claims=claims, abstained=not claims)
        return self.says(write_answer(draft, INSIGHTS_SCHEMA))

    def says(self, text: str) -> Completion:
        """A completion with this text."""
        usage = Usage(input=100, output=20)
        return Completion(text=text, stop_reason="end", usage=usage, provider=self.name, model=self.model)

    async def aclose(self) -> None:
        """Nothing to close but a flag."""
        self.closed = True


class StalledProvider(FakeProvider):
    """A model that never answers; `asked` tells when it was asked, `release` lets it answer."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.release = asyncio.Event()
        self.answer = self._stall

    async def _stall(self, request: CompletionRequest) -> Completion:
        self.asked.set()
        await self.release.wait()
        return await self.quote(request)


@dataclass
class FakePromptStore:
    """Aliases from a dictionary, by number what a test put there; `error` is raised instead while it is set."""

    versions: dict[tuple[str, str], PromotedVersion] = field(default_factory=dict)
    numbered: dict[int, PromotedVersion] = field(default_factory=dict)
    disk: dict[str, PromotedVersion] = field(default_factory=dict)
    """What is kept, by content hash."""
    error: AssayError | None = None
    fetches: int = 0

    async def fetch(self, name: str, alias: str) -> PromotedVersion:
        """The version in the dictionary."""
        self.fetches += 1
        if self.error is not None:
            raise self.error
        if (name, alias) not in self.versions:
            raise PromptNotFound(f"no prompt {name!r}")
        return self.versions[name, alias]

    async def fetch_version(self, name: str, version: int) -> PromotedVersion:
        """The version by its number."""
        if self.error is not None:
            raise self.error
        if version not in self.numbered or self.numbered[version].name != name:
            raise PromptNotFound(f"no prompt {name!r} version {version}")
        return self.numbered[version]

    async def of_record(self, record: Promotion) -> PromotedVersion:
        """The version from disk, else by its number."""
        kept = self.kept(record)
        if kept is not None:
            return kept
        if self.error is not None:
            raise self.error
        if record.prompt_version not in self.numbered:
            raise PromptNotFound(f"no version {record.prompt_version}")
        return self.numbered[record.prompt_version]

    def kept(self, record: Promotion) -> PromotedVersion | None:
        """The version that was kept."""
        return self.disk.get(record.content_hash)

    def keep(self, version: PromotedVersion) -> None:
        """Keep it."""
        self.disk[version.content_hash] = version

    async def aclose(self) -> None:
        """Nothing to close but a flag."""
        return


def prove(
    database: Database,
    *versions: PromotedVersion,
    models: Sequence[tuple[str, str]] = ((FakeProvider.name, FakeProvider.model),),
    at_ms: int = 1_000,
    expires_ms: int | None = None,
) -> None:
    """Let versions through, one after the other: the last one is where the alias was last allowed to point."""
    for place, version in enumerate(versions):
        record = Promotion(
            id=f"{at_ms + place}-{version.version}",
            prompt_name=version.name,
            prompt_version=version.version,
            content_hash=version.content_hash,
            use_case=version.template.use_case,
            alias=version.alias,
            models=tuple(ServingModel(provider=provider, model=model) for provider, model in models),
            basis="evidence" if expires_ms is None else "waiver",
            promoted_by="tests",
            evidence=(),
            created_ms=at_ms + place,
            expires_ms=expires_ms,
        )
        write_promotion(database, record)


def withdraw(database: Database, version: PromotedVersion) -> None:
    """End every record of the version's prompt and alias."""
    records = valid_promotions(database, version.name, version.alias, 2_000)
    revoke_promotions(database, [record.id for record in records], 2_000)


def prompt_version(version: int = 1, wording: str = "Answer.", **variables: Variable) -> PromotedVersion:
    """A promoted version of the prompt `insights`."""
    declared = variables or {
        "question": Variable(type="string", max_chars=4_000),
        "passages": Variable(type="passages", max_chars=24_000),
        "metrics": Variable(type="metrics", max_chars=400_000, required=False),
    }
    places = " ".join(f"{{{{{name}}}}}" for name in declared)
    template = PromptTemplate(
        name="insights",
        use_case="insights",
        owner="tests",
        template=f"{wording} {places}",
        variables=declared,
        output_schema=INSIGHTS_SCHEMA,
    )
    return PromotedVersion(
        name="insights",
        version=version,
        alias="production",
        template=template,
        content_hash=content_hash(template),
    )


POLICY = "use_case: {name}\nprompt: {prompt}\n{more}requires:\n  - kind: lint\n"


def write_policy(directory: Path, name: str = "insights", prompt: str = "insights", more: str = "") -> None:
    """A use case."""
    directory.mkdir(exist_ok=True)
    (directory / f"{name}.yaml").write_text(POLICY.format(name=name, prompt=prompt, more=more))
