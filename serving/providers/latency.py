"""How long a provider takes: a sliding histogram that all workers of a node fill.

Buckets grow by 5 %, from a millisecond to two minutes. Attempts that were cut off (cancelled, or out of time) would
have taken longer than we saw: they are censored observations, as in survival analysis, so that cutting stragglers off
does not make them disappear from the figures that decide when to cut off.

Source of the estimator: Kaplan and Meier, Nonparametric estimation from incomplete observations, JASA 53 (1958).
"""

import math
from ctypes import Array, Structure, addressof, c_int64, c_uint32, memset, sizeof
from dataclasses import dataclass

FIRST_S = 0.001
RATIO = 1.05
BUCKETS = 241
"""The last one begins at 116 s; an attempt takes at most 120 s."""
MINUTES = 6
"""The current minute and the five before it."""
MINUTE_NS = 60_000_000_000

_LOG_RATIO = math.log(RATIO)


@dataclass(frozen=True, slots=True)
class Latencies:
    """What a histogram held at one moment."""

    answered: list[int]
    """Attempts that took this long, by bucket."""
    censored: list[int]
    """Attempts that were cut off after this long, by bucket."""

    @property
    def n(self) -> int:
        """How many attempts were seen to their end."""
        return sum(self.answered)

    def quantile_s(self, q: float) -> float | None:
        """The time within which a share `q` of attempts ends, in seconds, rounded up to a bucket's end.

        When cut-off attempts hide the quantile, the longest time that anybody waited: it is at least that. None when
        nothing was seen.
        """
        at_risk = self.n + sum(self.censored)
        longest: int | None = None
        survival = 1.0
        for bucket, (ended, cut_off) in enumerate(zip(self.answered, self.censored, strict=True)):
            if not (ended or cut_off):
                continue
            longest = bucket
            survival *= 1 - ended / at_risk
            if survival <= 1 - q + 1e-12:
                break
            at_risk -= ended + cut_off
        return None if longest is None else FIRST_S * RATIO**longest


class _Minute(Structure):
    stamp: int
    answered: Array[c_uint32]
    censored: Array[c_uint32]
    _fields_ = (("stamp", c_int64), ("answered", c_uint32 * BUCKETS), ("censored", c_uint32 * BUCKETS))


class LatencyWindow(Structure):
    """The histogram of the last five minutes, in memory that processes share. The caller holds the lock to record."""

    minutes: Array[_Minute]
    _fields_ = (("minutes", _Minute * MINUTES),)

    def record(self, now_ns: int, seconds: float, *, censored: bool = False) -> None:
        """Count one attempt that took, or was cut off after, `seconds`."""
        stamp = now_ns // MINUTE_NS + 1  # 0 stands for a minute never used
        minute = self.minutes[stamp % MINUTES]
        if minute.stamp != stamp:
            memset(addressof(minute), 0, sizeof(minute))
            minute.stamp = stamp
        counts = minute.censored if censored else minute.answered
        counts[_bucket(seconds)] += 1

    def read(self, now_ns: int) -> Latencies:
        """The last five minutes together; a count that another process is writing may be missed."""
        newest = now_ns // MINUTE_NS + 1
        fresh = [minute for minute in self.minutes if newest - MINUTES < minute.stamp <= newest]
        empty = [0] * BUCKETS
        return Latencies(
            answered=[sum(counts) for counts in zip(empty, *(minute.answered for minute in fresh), strict=True)],
            censored=[sum(counts) for counts in zip(empty, *(minute.censored for minute in fresh), strict=True)],
        )


def _bucket(seconds: float) -> int:
    if seconds <= FIRST_S:
        return 0
    return min(math.ceil(math.log(seconds / FIRST_S) / _LOG_RATIO), BUCKETS - 1)
