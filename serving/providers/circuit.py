"""The state of a breaker, in words of memory that processes share: when to leave a provider alone, when to ask again.

closed --(half of at least 20 calls failed within 30 s, or every one of late)--> open
open --(the cool-down is over)--> half-open: one call, of any worker, holds a lease and is the probe
half-open --(the vendor answered)--> closed; --(the probe failed)--> open, with twice the cool-down
half-open --(a ping or the first piece of a stream came)--> closed on trial: the first failure opens it again

Every method takes the time; whoever changes something holds the lock. A ticket says under which state a call began:
what comes back under another one decides nothing any more.
"""

from ctypes import Array, Structure, c_int64
from typing import Literal

SECOND_NS = 1_000_000_000
BUCKET_NS = 3 * SECOND_NS
BUCKETS = 10
WINDOW_S = BUCKETS * BUCKET_NS // SECOND_NS
"""Calls are judged over the last 30 s, in steps of 3 s."""
CALLS_MIN = 20
"""Fewer calls in the window make no rate."""
FAILURE_RATE_MAX = 0.5
ROW_OF_FEW = 5
"""So many failures in a row open it while the window holds fewer than CALLS_MIN calls."""
ROW_OF_MANY = 10
"""As ROW_OF_FEW under traffic: a dead provider is still noticed at once, and chance rows are rare (decision 0100)."""
COOL_DOWN_S_FIRST = 5
COOL_DOWN_S_MAX = 60
AWAY_S_MAX = 60
"""Longest time that a vendor's `retry-after` keeps everyone away."""

CircuitState = Literal["closed", "open", "half_open"]
"""closed: everyone may ask; open: nobody; half_open: the next one, or the one who is asking now, is the probe."""


class _Bucket(Structure):
    stamp: int
    calls: int
    failed: int
    _fields_ = (("stamp", c_int64), ("calls", c_int64), ("failed", c_int64))


class Circuit(Structure):
    """One breaker's words; all zero is closed and new."""

    generation: int
    """Counts changes of state; a call's ticket."""
    open_until_ns: int
    """0 when closed."""
    away_until_ns: int
    """The vendor asked us to wait until then."""
    lease_until_ns: int
    """Somebody probes, and has until then; 0 when nobody does."""
    openings: int
    """Since the last success."""
    row: int
    """Failures since the last success."""
    buckets: Array[_Bucket]
    _fields_ = (
        ("generation", c_int64),
        ("open_until_ns", c_int64),
        ("away_until_ns", c_int64),
        ("lease_until_ns", c_int64),
        ("openings", c_int64),
        ("row", c_int64),
        ("buckets", _Bucket * BUCKETS),
    )

    def state(self, now_ns: int) -> CircuitState:
        """What it is at `now_ns`."""
        if now_ns < max(self.open_until_ns, self.away_until_ns):
            return "open"
        return "half_open" if self.open_until_ns else "closed"

    def retry_after_s(self, now_ns: int) -> float:
        """Seconds until asking again may help, 0 to 60; 0 when it may now."""
        wait_ns = max(self.open_until_ns, self.away_until_ns) - now_ns
        if wait_ns > 0:
            return min(wait_ns / SECOND_NS, COOL_DOWN_S_MAX)
        # The lease is as long as the prober's deadline; its answer is mostly there much earlier.
        return min(max(self.lease_until_ns - now_ns, 0) / SECOND_NS, COOL_DOWN_S_FIRST)

    def enter(self, now_ns: int) -> int | None:
        """A ticket when it is closed, else None. Needs no lock: the ticket is read before the state."""
        ticket = self.generation
        return ticket if self.state(now_ns) == "closed" else None

    def lease(self, now_ns: int, lease_s: float) -> int | None:
        """A ticket for the probe when it is half-open and nobody else probes, else None.

        The lease ends by itself after `lease_s`, for probers that die, but never within the cool-down it belongs to.
        """
        if self.state(now_ns) != "half_open" or self.lease_until_ns > now_ns:
            return None
        self.generation += 1  # a prober whose lease ran out has nothing to say any more
        self.lease_until_ns = now_ns + max(int(lease_s * SECOND_NS), self._cool_down_ns())
        return self.generation

    def is_probe(self, ticket: int) -> bool:
        """Whether the ticket's call is the probe that all others wait for. Needs no lock: a wrong word costs a look."""
        return ticket == self.generation and self.lease_until_ns > 0

    def give_back(self, now_ns: int, ticket: int, *, asked: bool) -> None:
        """End a call without a verdict. A probe that did reach the vendor leaves a first cool-down behind."""
        if self.is_probe(ticket):
            self.generation += 1
            self.lease_until_ns = 0
            if asked:
                self.open_until_ns = now_ns + COOL_DOWN_S_FIRST * SECOND_NS

    def succeeded(self, now_ns: int, ticket: int) -> None:
        """Count an answer; a probe's closes the breaker and clears the window."""
        if ticket != self.generation:
            return
        if self.open_until_ns:
            self.close()
        self._count(now_ns, failed=0)
        self.row = self.openings = 0

    def declined(self, ticket: int) -> None:
        """Note that the vendor answered a request it will not serve: no call that counts, but a probe closes."""
        if ticket == self.generation and self.open_until_ns:
            self.close()
            self.row = self.openings = 0

    def close_on_trial(self, ticket: int) -> int:
        """Close for a vendor that is there, though nobody knows whether it answers: until the first failure.

        Gives the ticket under which the probe, if it goes on, is judged from now on, as any other call.
        """
        if not self.is_probe(ticket):
            return ticket
        self.close()
        self.row = ROW_OF_FEW - 1
        return self.generation

    def failed(self, now_ns: int, ticket: int, *, away_s: float = 0.0, at_once: bool = False) -> None:
        """Count a failure; a probe's opens the breaker again.

        Args:
            now_ns: the time.
            ticket: what `enter` or `lease` gave.
            away_s: how long the vendor asks everyone to stay away.
            at_once: open without waiting for more failures.
        """
        if away_s > 0:
            self.away_until_ns = max(self.away_until_ns, now_ns + int(min(away_s, AWAY_S_MAX) * SECOND_NS))
        if ticket != self.generation:
            return
        if self.open_until_ns:
            self._open(now_ns)
            return
        self._count(now_ns, failed=1)
        self.row += 1
        calls, failed = self.window(now_ns)
        in_a_row = self.row >= (ROW_OF_FEW if calls < CALLS_MIN else ROW_OF_MANY)
        if at_once or in_a_row or (calls >= CALLS_MIN and failed >= FAILURE_RATE_MAX * calls):
            self._open(now_ns)

    def window(self, now_ns: int) -> tuple[int, int]:
        """Calls that counted in the last 30 s, and how many of them failed."""
        newest = now_ns // BUCKET_NS + 1
        fresh = [bucket for bucket in self.buckets if newest - BUCKETS < bucket.stamp <= newest]
        return sum(bucket.calls for bucket in fresh), sum(bucket.failed for bucket in fresh)

    def is_sane(self, now_ns: int, lease_s_max: float) -> bool:
        """Whether these words can have been written on this clock, rather than before the machine started again."""
        reach_ns = now_ns + int(lease_s_max) * SECOND_NS
        return max(self.open_until_ns, self.away_until_ns, self.lease_until_ns) <= reach_ns and self.generation >= 0

    def close(self) -> None:
        """Let everyone ask; what was counted before is forgotten."""
        self.generation += 1
        self.open_until_ns = self.lease_until_ns = 0
        for bucket in self.buckets:
            bucket.stamp = 0

    def _open(self, now_ns: int) -> None:
        self.generation += 1
        self.openings += 1
        self.lease_until_ns = 0
        self.open_until_ns = now_ns + self._cool_down_ns()

    def _cool_down_ns(self) -> int:
        doublings = min(max(self.openings - 1, 0), 8)
        return int(min(COOL_DOWN_S_FIRST << doublings, COOL_DOWN_S_MAX)) * SECOND_NS

    def _count(self, now_ns: int, *, failed: int) -> None:
        stamp = now_ns // BUCKET_NS + 1  # 0 stands for a bucket never used
        bucket = self.buckets[stamp % BUCKETS]
        if bucket.stamp != stamp:
            bucket.stamp, bucket.calls, bucket.failed = stamp, 0, 0
        bucket.calls += 1
        bucket.failed += failed
