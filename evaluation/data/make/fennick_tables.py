"""Fennick Instruments' metric tables: fleet and service, one file of each per half of the calendar year."""

from evaluation.data.make.fennick_metrics import FennickMonth, fennick
from evaluation.data.make.months import long_name, short_name
from evaluation.data.make.tables import Table

HALVES = {"2024-h2": (0, 2), "2025-h1": (2, 8), "2025-h2": (8, 14), "2026-h1": (14, 20), "2026-h2": (20, 24)}
"""Which months stand in the files of a half."""


def tables() -> tuple[Table, ...]:
    """Return every table, oldest first."""
    months = fennick()
    return tuple(
        table
        for half, (first, last) in HALVES.items()
        for rows in (months[first:last],)
        for table in (_fleet(half, rows), _service(half, rows))
    )


def keur(row: FennickMonth) -> str:
    """Return monthly recurring revenue in thousand euros, one decimal."""
    return f"{row.mrr_hundred_eur / 10:.1f}"


def percent_received(row: FennickMonth) -> str:
    """Return the share of readings received, two decimals."""
    return f"{row.received_basis_points / 100:.2f}"


def _fleet(half: str, rows: tuple[FennickMonth, ...]) -> Table:
    return Table(
        document=f"tables/fleet-{half}.csv",
        title=f"Fleet {half}",
        note="",
        columns=(
            "month",
            "sensors at month end",
            "sensors added",
            "sensors returned",
            "sites",
            "recurring revenue (thousand EUR)",
        ),
        rows=tuple((long_name(r.month), r.sensors, r.added, r.returned, r.sites, keur(r)) for r in rows),
    )


def _service(half: str, rows: tuple[FennickMonth, ...]) -> Table:
    return Table(
        document=f"tables/service-{half}.html",
        title=f"Service figures {half[:4]}, half-year {half[-1]}",
        note="Confirmed: the customer found a real fault. Received: share of expected readings that reached us.",
        columns=(
            "Month",
            "Alerts sent",
            "Confirmed alerts",
            "Readings received (%)",
            "Battery swaps",
            "Tickets",
            "Median hours to solve",
        ),
        rows=tuple(
            (
                short_name(r.month),
                r.alerts,
                r.confirmed,
                percent_received(r),
                r.battery_swaps,
                r.tickets,
                r.solved_median_h,
            )
            for r in rows
        ),
    )
