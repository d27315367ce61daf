"""Fennick Instruments, an invented maker of sensors for pumps and cold-store compressors: 24 months, in euros.

What bends the curves: summer heat (compressors struggle and alerts rise), the dearer Watch plan of July 2025, the
ingestion outage of August 2025, firmware 4.2 of November 2025, which drains batteries until sensors are sent back, and
the Predict plan of March 2026. Sensors on our own test benches were reported as online until September 2025; the
confirmed alerts of May 2026 were first reported with duplicates.
"""

import random
from dataclasses import dataclass

from evaluation.data.make.months import MONTHS, Bend, factor

SEED = 20241102
SENSORS_BEFORE = 18_420
"""Sensors at customers at the end of October 2024."""
BENCH_SENSORS = 412
"""Sensors on our own benches that the reports up to August 2025 counted as online."""
DUPLICATE_CONFIRMATIONS = {"2026-05": 57}
"""Confirmations that the first report counted twice."""

# January to December.
HEAT = (0.82, 0.80, 0.88, 0.95, 1.06, 1.24, 1.38, 1.33, 1.08, 0.94, 0.86, 0.81)
SALES_SEASON = (0.92, 1.02, 1.14, 1.06, 1.04, 1.00, 0.86, 0.68, 1.10, 1.16, 1.08, 0.70)

ADDED_BENDS = (Bend("2026-03", "2026-05", 1.34), Bend("2026-06", "2026-10", 1.12))
RETURNED_BENDS = (
    Bend("2025-07", "2025-08", 1.45),
    Bend("2026-01", "2026-01", 2.1),
    Bend("2026-02", "2026-03", 2.7),
    Bend("2026-04", "2026-04", 1.6),
)
PRICE_BENDS = (Bend("2025-07", "2026-10", 1.071), Bend("2026-03", "2026-05", 1.02), Bend("2026-06", "2026-10", 1.05))
BATTERY_BENDS = (
    Bend("2025-12", "2025-12", 2.6),
    Bend("2026-01", "2026-03", 5.2),
    Bend("2026-04", "2026-04", 2.2),
)
TICKET_BENDS = (Bend("2025-08", "2025-08", 1.5), Bend("2026-01", "2026-03", 1.7))
HOURS_BENDS = (Bend("2025-08", "2025-08", 1.3), Bend("2026-01", "2026-03", 1.55), Bend("2026-06", "2026-10", 0.7))
OUTAGE_POINTS = {"2025-08": 195, "2026-06": 22}
"""Hundredths of a percent of readings that an incident lost."""


@dataclass(frozen=True)
class FennickMonth:
    """One month as restated today."""

    month: str
    sensors: int
    """At customers at the end of the month: those before, plus added, less returned."""
    added: int
    returned: int
    sites: int
    mrr_hundred_eur: int
    """Monthly recurring revenue in units of 100 EUR; tables show it in thousand EUR with one decimal."""
    alerts: int
    confirmed: int
    """Alerts behind which the customer found a real fault."""
    received_basis_points: int
    """Readings that reached us, in hundredths of a percent of those expected."""
    battery_swaps: int
    tickets: int
    solved_median_h: int
    """Median hours until a ticket was solved."""


def fennick() -> tuple[FennickMonth, ...]:
    """Return the 24 months, the same on every machine."""
    chance = random.Random(SEED)  # noqa: S311 - invented figures, not secrets
    sensors = SENSORS_BEFORE
    rows: list[FennickMonth] = []
    for month in MONTHS:
        row = _month(month, sensors, chance)
        sensors = row.sensors
        rows.append(row)
    return tuple(rows)


def _month(month: str, before: int, chance: random.Random) -> FennickMonth:
    def noise(width: float) -> float:
        return 1 + (chance.random() - 0.5) * width

    season = int(month[5:]) - 1
    added = round(590 * SALES_SEASON[season] * factor(month, ADDED_BENDS) * noise(0.12))
    returned = round(before * 0.0118 * factor(month, RETURNED_BENDS) * noise(0.14))
    after = before + added - returned
    alerts = round(after * 0.033 * HEAT[season] * noise(0.08))
    share = 0.705 if month >= "2026-03" else 0.618
    return FennickMonth(
        month=month,
        sensors=after,
        added=added,
        returned=returned,
        sites=round(after / 22.6 * noise(0.004)),
        mrr_hundred_eur=round((before + after) / 2 * 6.24 * factor(month, PRICE_BENDS) * noise(0.008) / 100),
        alerts=alerts,
        confirmed=round(alerts * share * noise(0.05)),
        received_basis_points=9_995 - round(chance.random() * 6) - OUTAGE_POINTS.get(month, 0),
        battery_swaps=round(after * 0.0061 * factor(month, BATTERY_BENDS) * noise(0.1)),
        tickets=round(after * 0.0145 * factor(month, TICKET_BENDS) * noise(0.08)),
        solved_median_h=round(19 * factor(month, HOURS_BENDS) * noise(0.16)),
    )
