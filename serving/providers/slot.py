"""What is known about one provider and model: the breaker, the latencies, the last error, the answering model."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from ctypes import Structure, addressof, c_char, c_int64, memset, sizeof
from dataclasses import dataclass, replace

from registry.messages import Attempt
from serving.providers.base import ATTEMPT_S_MAX
from serving.providers.circuit import SECOND_NS, Circuit, CircuitState
from serving.providers.latency import Latencies, LatencyWindow

LEASE_MARGIN_S = 1.0
FAIR_S = 1.0
"""A fair time for an attempt while nobody knows how long answers take."""
KNOWN_MIN = 20
"""Fewer answers make no p95."""
HEDGE_MIN = 100
"""Fewer answers make no hedge."""
HEDGE_FACTOR = 1.25
HEDGE_SIGMAS = 3.0
KEPT_NS = 1_000_000_000
"""A process works quantiles out once a second."""
PING_SPACING_S = 60.0
"""At most 60 active probes an hour, over all workers."""
TRAFFIC_FIRST_S = 20.0
"""A breaker that became half-open is left to requests for so long: a ping that always fails must not hold it open."""
CANCELLED = "cancelled"
TEXT_BYTES_MAX = 127
ERROR_BYTES_MAX = 39


class SlotWords(Structure):
    """A slot in memory that processes share; all zero is new."""

    key: bytes
    is_written: int
    circuit: Circuit
    whole: LatencyWindow
    first_byte: LatencyWindow
    attempt_ns: int
    ping_ns: int
    error_ns: int
    error: bytes
    model: bytes
    model_before: bytes
    model_changed_ns: int
    _fields_ = (
        ("key", c_char * 32),
        ("is_written", c_int64),
        ("circuit", Circuit),
        ("whole", LatencyWindow),
        ("first_byte", LatencyWindow),
        ("attempt_ns", c_int64),
        ("ping_ns", c_int64),
        ("error_ns", c_int64),
        ("error", c_char * 40),
        ("model", c_char * 128),
        ("model_before", c_char * 128),
        ("model_changed_ns", c_int64),
    )

    def clear(self) -> None:
        """Begin anew, under the same key."""
        key = self.key
        memset(addressof(self), 0, sizeof(self))
        self.key = key

    def is_sane(self, now_ns: int) -> bool:
        """Whether these words can have been written on this clock, rather than before the machine started again."""
        seen_ns = max(self.attempt_ns, self.ping_ns, self.error_ns, self.model_changed_ns)
        return seen_ns <= now_ns and self.circuit.is_sane(now_ns, ATTEMPT_S_MAX + LEASE_MARGIN_S)


Writing = Callable[[SlotWords], AbstractContextManager[bool]]
"""Holds the lock to change a slot; False when it could not be had in time, and then nothing may be written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotReading:
    """One provider and model at one moment; ages in seconds."""

    state: CircuitState
    retry_after_s: float
    """Until asking again may help; 0 when it may now."""
    calls: int
    """That counted in the breaker's window."""
    failed: int
    whole: Latencies
    """Answers that were not streamed, to their end."""
    first_byte: Latencies
    """Streamed answers, to their first piece."""
    attempt_ago_s: float | None
    error: str | None
    """Name of the last provider error."""
    error_ago_s: float | None
    model: str | None
    """The model that answered last, as the vendor names it."""
    model_before: str | None
    """The one that answered before it changed."""
    model_changed_ago_s: float | None


class Slot:
    """One provider and model on the board."""

    def __init__(self, words: SlotWords, writing: Writing, clock: Callable[[], int]) -> None:
        self._words = words
        self._writing = writing
        self._clock = clock
        self._hedges: dict[bool, tuple[int, float | None]] = {}
        self._fair: dict[bool, tuple[int, float]] = {}

    @property
    def state(self) -> CircuitState:
        """What the breaker is now."""
        return self._words.circuit.state(self._clock())

    @property
    def retry_after_s(self) -> float:
        """Seconds until asking again may help, 0 to 60; 0 when it may now."""
        return self._words.circuit.retry_after_s(self._clock())

    def enter(self, left_s: float) -> int | None:
        """A ticket for a call that has `left_s` seconds: everyone's when closed, one for all workers when half-open.

        None when the provider is left alone. Every ticket is given back through `change`.
        """
        now_ns, circuit = self._clock(), self._words.circuit
        if (ticket := circuit.enter(now_ns)) is not None:
            return ticket
        if circuit.state(now_ns) == "open":
            return None
        with self._writing(self._words) as alone:
            lease_s = min(max(left_s, 0.0), ATTEMPT_S_MAX) + LEASE_MARGIN_S
            return circuit.lease(now_ns, lease_s) if alone else None

    def change(self, change: Callable[[Circuit, int], None]) -> bool:
        """Have `change` tell the breaker how a call ended; it gets the breaker and the time.

        False when the lock could not be had in time, and nothing was told.
        """
        with self._writing(self._words) as alone:
            if alone:
                change(self._words.circuit, self._clock())
            return alone

    def is_probe(self, ticket: int) -> bool:
        """Whether the call with this ticket is the probe."""
        return self._words.circuit.is_probe(ticket)

    def observe(self, attempt: Attempt) -> None:
        """Remember how long an attempt took, what went wrong and which model answered."""
        with self._writing(self._words) as alone:
            if alone:
                words, now_ns = self._words, self._clock()
                words.attempt_ns = now_ns
                _record_time(words, now_ns, attempt)
                if attempt.outcome == "answered":
                    _record_model(words, now_ns, attempt.model.encode()[:TEXT_BYTES_MAX])
                elif attempt.outcome != CANCELLED:
                    words.error, words.error_ns = attempt.outcome.encode()[:ERROR_BYTES_MAX], now_ns

    def claim_ping(self, idle_s: float) -> bool:
        """Whether this worker is the one to ping now.

        True when nobody asked for `idle_s`, nobody pinged for a minute, and the breaker neither keeps everyone away nor
        did so within TRAFFIC_FIRST_S.
        """
        now_ns, words = self._clock(), self._words
        half_open_ns = words.circuit.open_until_ns  # 0 when closed
        if half_open_ns and now_ns < half_open_ns + TRAFFIC_FIRST_S * SECOND_NS:
            return False
        if now_ns - words.attempt_ns < idle_s * SECOND_NS or words.circuit.retry_after_s(now_ns) > 0:
            return False
        with self._writing(words) as alone:
            is_due = words.ping_ns == 0 or now_ns - words.ping_ns >= PING_SPACING_S * SECOND_NS
            if alone and is_due:
                words.ping_ns = now_ns
            return alone and is_due

    @property
    def last_error(self) -> str | None:
        """Name of the last provider error; None when there was none."""
        return _text(self._words.error)

    def note_error(self, kind: str) -> None:
        """Remember what a ping met."""
        with self._writing(self._words) as alone:
            if alone:
                self._words.error = kind.encode()[:ERROR_BYTES_MAX]
                self._words.error_ns = self._clock()

    def hedge_after_s(self, streamed: bool) -> float | None:  # noqa: FBT001 - the port of Hedge
        """Seconds after which a second attempt is worth its price; None with fewer than HEDGE_MIN answers seen.

        A quarter above the lower confidence bound of the 95th percentile, by the order statistic
        n * .95 - 3 * sqrt(n * .95 * .05): with exactly 5 % stragglers the percentile itself would jump between the
        usual time and theirs (decision 0101).
        """
        now_ns = self._clock()
        kept = self._hedges.get(streamed)
        if kept is None or not kept[0] <= now_ns < kept[0] + KEPT_NS:
            seen = self._latencies(streamed).read(now_ns)
            quantile = 0.95 - HEDGE_SIGMAS * math.sqrt(0.95 * 0.05 / max(seen.n, 1))
            after_s = seen.quantile_s(quantile) if seen.n >= HEDGE_MIN else None
            kept = self._hedges[streamed] = (now_ns, after_s and after_s * HEDGE_FACTOR)
        return kept[1]

    def fair_s(self, streamed: bool) -> float:  # noqa: FBT001 - as hedge_after_s
        """How long an attempt must have had before its running out of time says something about the provider.

        The 95th percentile of the answers, without those that were cut off: else a stalled one would excuse itself.
        """
        now_ns = self._clock()
        kept = self._fair.get(streamed)
        if kept is None or not kept[0] <= now_ns < kept[0] + KEPT_NS:
            seen = self._latencies(streamed).read(now_ns)
            p95_s = replace(seen, censored=[0] * len(seen.censored)).quantile_s(0.95)
            kept = self._fair[streamed] = (now_ns, FAIR_S if p95_s is None or seen.n < KNOWN_MIN else p95_s)
        return kept[1]

    def read(self) -> SlotReading:
        """Everything there is to say, for reports."""
        words, now_ns = self._words, self._clock()
        calls, failed = words.circuit.window(now_ns)

        def ago_s(then_ns: int) -> float | None:
            return max(now_ns - then_ns, 0) / SECOND_NS if then_ns else None

        return SlotReading(
            state=words.circuit.state(now_ns),
            retry_after_s=words.circuit.retry_after_s(now_ns),
            calls=calls,
            failed=failed,
            whole=words.whole.read(now_ns),
            first_byte=words.first_byte.read(now_ns),
            attempt_ago_s=ago_s(words.attempt_ns),
            error=_text(words.error),
            error_ago_s=ago_s(words.error_ns),
            model=_text(words.model),
            model_before=_text(words.model_before),
            model_changed_ago_s=ago_s(words.model_changed_ns),
        )

    def _latencies(self, streamed: bool) -> LatencyWindow:  # noqa: FBT001 - as hedge_after_s
        return self._words.first_byte if streamed else self._words.whole


def _record_time(words: SlotWords, now_ns: int, attempt: Attempt) -> None:
    if attempt.first_byte_s is not None:
        words.first_byte.record(now_ns, attempt.first_byte_s)
    elif attempt.outcome in {CANCELLED, "TimedOut"}:
        window = words.first_byte if attempt.streamed else words.whole
        window.record(now_ns, attempt.seconds, censored=True)
    elif attempt.outcome == "answered" and not attempt.streamed:
        words.whole.record(now_ns, attempt.seconds)


def _record_model(words: SlotWords, now_ns: int, model: bytes) -> None:
    if words.model == model:
        return
    if words.model:
        words.model_before, words.model_changed_ns = words.model, now_ns
    words.model = model


def _text(words: bytes) -> str | None:
    return words.decode(errors="replace") or None
