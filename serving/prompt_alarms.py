"""Alarms about prompts: open while an alias points at what may not serve, closed when all is back in order."""

import time
from collections.abc import Callable, Iterable, Mapping

from registry.alarms import Alarm, Note, close_alarm, open_alarm, open_alarms
from registry.database import Database
from registry.errors import JsonValue
from serving.second_lock import Slot

UNPROVEN = "prompt-unproven"
"""Kind of the alarm; its subject is `NAME@ALIAS`."""

Findings = Mapping[Slot, Mapping[str, JsonValue] | None]
"""For each place what is wrong there, None for nothing; a place of which nothing is known is not in it."""


class PromptAlarms:
    """Keeps the alarms as the one process finds things that looks for all (the holder of the poll's lease).

    Args:
        database: Holds the alarms.
        slots: Every place that serves; an alarm about any other is closed.
        note: Writes to the audit log.
        clock: Seconds since the epoch.
    """

    def __init__(
        self, database: Database, slots: Iterable[Slot], note: Note, clock: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._subjects = {_subject(slot) for slot in slots}
        self._note = note
        self._clock = clock
        self._settled: Findings | None = None

    def settle(self, found: Findings) -> None:
        """Open what starts, close what is over, both where it changed; nothing is asked while findings stay the same.

        Raises:
            DatabaseUnavailable: the database does not answer.
            LogUnavailable: the audit log cannot be written; the alarm is as it was.
        """
        if found == self._settled:
            return
        there = {alarm.subject: alarm for alarm in open_alarms(self._database, UNPROVEN)}
        over = there.keys() - self._subjects | {_subject(slot) for slot, wrong in found.items() if wrong is None}
        over = over & there.keys() | self._changed(there, found)
        for subject in over:
            close_alarm(self._database, there[subject], self._note, self._clock)
        for slot, wrong in found.items():
            if wrong is not None and _subject(slot) not in there.keys() - over:
                open_alarm(
                    self._database,
                    kind=UNPROVEN,
                    subject=_subject(slot),
                    severity="page",
                    details=wrong,
                    note=self._note,
                    clock=self._clock,
                )
        self._settled = found

    def _changed(self, there: Mapping[str, Alarm], found: Findings) -> set[str]:
        """What is still wrong and not as it was told, such as an alias that moved on to another unproven version."""
        wrongs = {_subject(slot): dict(wrong) for slot, wrong in found.items() if wrong is not None}
        return {subject for subject in there.keys() & wrongs.keys() if dict(there[subject].details) != wrongs[subject]}

    def forget(self) -> None:
        """Another process looks now, and may change the alarms."""
        self._settled = None


def _subject(slot: Slot) -> str:
    return "@".join(slot)
