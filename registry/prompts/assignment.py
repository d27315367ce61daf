"""Which arm of an experiment a unit gets: by a keyed hash, the same in every process, today and tomorrow.

Two draws come out of one hash of (experiment, unit), and they are independent: the first says whether the unit takes
part, the second which arm it gets. So an experiment that is opened to more units moves nobody from one arm to another,
and two experiments share out the same units in ways that have nothing to do with each other.
"""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass

_BITS = 53
"""A draw has as many bits as a float holds exactly, so that it never rounds up to 1."""


@dataclass(frozen=True, slots=True)
class Draws:
    """Two independent numbers, uniform over [0, 1)."""

    exposure: float
    """Takes part when below the share of units that shall."""
    arm: float
    """Where it falls among the weights of the arms, laid end to end."""


def assignment_key(master_key: bytes) -> bytes:
    """The key of all assignments: who lacks it can neither foresee an arm nor choose a subject by it."""
    return hmac.digest(master_key, b"assay experiments: assign units\x01", hashlib.sha256)


def draw(key: bytes, experiment: str, unit: str) -> Draws:
    """The draws of a unit in an experiment: keyed BLAKE2b (RFC 7693).

    Args:
        key: as `assignment_key` makes it.
        experiment: id of the experiment.
        unit: keyed hash of a tenant's subject or session, so that the same name in two tenants is two units.
    """
    digest = hashlib.blake2b(f"{experiment}\0{unit}".encode(), key=key, digest_size=16).digest()
    first, second = int.from_bytes(digest[:8]), int.from_bytes(digest[8:])
    return Draws((first >> (64 - _BITS)) / 2**_BITS, (second >> (64 - _BITS)) / 2**_BITS)


def chosen(weights: Sequence[float], at: float) -> int:
    """Number of the arm at which a draw from [0, 1) falls.

    Args:
        weights: one for each arm, positive; only their proportions count.
        at: the draw.
    """
    place = at * sum(weights)
    for number, weight in enumerate(weights[:-1]):
        place -= weight
        if place < 0:
            return number
    return len(weights) - 1
