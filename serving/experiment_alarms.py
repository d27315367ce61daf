"""Alarms about experiments: open while the row of one that has not ended cannot be read."""

import time
from collections.abc import Callable, Iterable

from registry.alarms import Note, close_alarm, open_alarm, open_alarms
from registry.database import Database
from registry.prompts.experiments import UnreadableExperiment

UNREADABLE = "experiment-unreadable"
"""Kind of the alarm; its subject is the experiment's id."""


class ExperimentAlarms:
    """Keeps the alarms. Every process does: all see the same rows, and an alarm opens and closes once.

    Args:
        database: holds the alarms.
        note: writes to the audit log.
        clock: seconds since the epoch.
    """

    def __init__(self, database: Database, note: Note, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._note = note
        self._clock = clock
        self._settled: dict[str, UnreadableExperiment] | None = None

    def settle(self, rows: Iterable[UnreadableExperiment]) -> None:
        """Open what starts, close what is over; nothing is asked while the rows stay the same.

        Raises:
            DatabaseUnavailable: the database does not answer.
            LogUnavailable: the audit log cannot be written; the alarm is as it was.
        """
        found = {row.id: row for row in rows}
        if found == self._settled:
            return
        there = {alarm.subject: alarm for alarm in open_alarms(self._database, UNREADABLE)}
        for subject in there.keys() - found.keys():
            close_alarm(self._database, there[subject], self._note, self._clock)
        for subject in found.keys() - there.keys():
            open_alarm(
                self._database,
                kind=UNREADABLE,
                subject=subject,
                severity="ticket",
                details={"prompt": found[subject].prompt_name, "trouble": found[subject].trouble},
                note=self._note,
                clock=self._clock,
            )
        self._settled = found
