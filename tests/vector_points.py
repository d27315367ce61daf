"""Thirty points on a quarter circle, and the collection that the vector store's tests put them in."""

import math
import uuid
from typing import Any

from qdrant_client import QdrantClient, models

DENSE, SPARSE = "dense", "bm25"
TENANTS = ("north", "south")
COLOURS = ("red", "green", "blue")
POINTS = 30


def point_id(number: int) -> str:
    """The same UUID for the same number."""
    return str(uuid.UUID(int=number + 1))


def vector(number: int) -> list[float]:
    """A direction in the plane, a little further round for each number."""
    angle = math.pi * number / (2 * POINTS)
    return [math.cos(angle), math.sin(angle), 0.0, 0.0]


def payload(number: int) -> dict[str, Any]:
    """Tenant, colour, number and size of a point."""
    return {
        "tenant": TENANTS[number % 2],
        "colour": COLOURS[number % 3],
        "number": number,
        "size": number / 2,
        "day": f"2026-01-{number + 1:02d}T12:00:00Z",
    }


def words(number: int) -> models.SparseVector:
    """Word 0, which every point has, and one of the words 1 to 5."""
    return models.SparseVector(indices=[0, 1 + number % 5], values=[1.0, 1.0])


def point(number: int) -> models.PointStruct:
    """A point with a dense vector, two words and a payload."""
    vectors = {DENSE: vector(number), SPARSE: words(number)}
    return models.PointStruct(id=point_id(number), vector=vectors, payload=payload(number))


def create(client: QdrantClient, name: str) -> None:
    """An empty collection with our shape and payload indexes."""
    client.create_collection(
        name,
        vectors_config={DENSE: models.VectorParams(size=4, distance=models.Distance.COSINE)},
        sparse_vectors_config={SPARSE: models.SparseVectorParams(modifier=models.Modifier.IDF)},
    )
    tenant = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True)
    client.create_payload_index(name, "tenant", tenant)
    client.create_payload_index(name, "colour", models.PayloadSchemaType.KEYWORD)
    client.create_payload_index(name, "number", models.PayloadSchemaType.INTEGER)
    client.create_payload_index(name, "size", models.PayloadSchemaType.FLOAT)
    client.create_payload_index(name, "day", models.PayloadSchemaType.DATETIME)


def matches(key: str, value: str | int) -> models.FieldCondition:
    """A field equals a value."""
    return models.FieldCondition(key=key, match=models.MatchValue(value=value))


def numbers(points: list[Any]) -> list[int]:
    """Which points came back, in their order."""
    return [uuid.UUID(str(found.id)).int - 1 for found in points]
