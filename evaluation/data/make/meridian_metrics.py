"""Meridian Larder, an invented recipe-box company: 24 months of figures, in pounds sterling.

What bends the curves: a season (people cook in January and are away in August), the checkout outage of March 2025,
the Solo box of June 2025, a slow courier in the north from September to December 2025, which customers leave over,
and the dearer Classic box of February 2026. December 2024 and January 2025 were first reported with gift boxes counted
twice; June 2026 tickets were first reported with automatic replies in them.
"""

import random
from dataclasses import dataclass

from evaluation.data.make.months import MONTHS, Bend, factor

SEED = 20241101
SUBSCRIBERS_BEFORE = 31_240
"""Subscribers at the end of October 2024."""

# January to December.
BOXES_SEASON = (1.10, 1.05, 1.02, 0.99, 0.98, 0.96, 0.92, 0.86, 1.02, 1.05, 1.03, 0.88)
NEW_SEASON = (1.52, 1.12, 1.00, 0.95, 0.90, 0.86, 0.82, 0.78, 1.22, 1.10, 1.00, 0.72)

NEW_BENDS = (Bend("2025-03", "2025-03", 0.84), Bend("2025-06", "2025-08", 1.55), Bend("2026-02", "2026-03", 0.86))
CANCEL_BENDS = (
    Bend("2025-03", "2025-03", 1.12),
    Bend("2025-10", "2025-11", 1.62),
    Bend("2025-12", "2025-12", 1.30),
    Bend("2026-02", "2026-02", 1.48),
    Bend("2026-03", "2026-03", 1.21),
)
BOXES_BENDS = (Bend("2025-03", "2025-03", 0.955),)
PRICE_BENDS = (Bend("2025-06", "2026-10", 0.962), Bend("2026-02", "2026-10", 1.058))
LATE_BENDS = (
    Bend("2025-09", "2025-09", 2.1),
    Bend("2025-10", "2025-11", 3.3),
    Bend("2025-12", "2025-12", 2.4),
    Bend("2026-07", "2026-07", 1.4),
)
RESPONSE_BENDS = (
    Bend("2025-03", "2025-03", 1.7),
    Bend("2025-10", "2025-12", 1.9),
    Bend("2026-02", "2026-02", 1.35),
    Bend("2026-05", "2026-10", 0.62),
)
WASTE_BENDS = (Bend("2025-09", "2025-09", 1.9), Bend("2026-04", "2026-10", 0.78))
COURIER_BENDS = (Bend("2025-09", "2025-12", 0.93), Bend("2026-01", "2026-10", 1.06))

GIFT_BOXES_TWICE = {"2024-12": 2_316, "2025-01": 1_087}
"""Boxes that the first reports counted a second time."""
AUTO_REPLIES = {"2026-06": 648}
"""Automatic replies that the first report counted as tickets."""


@dataclass(frozen=True)
class MeridianMonth:
    """One month as restated today."""

    month: str
    boxes: int
    revenue_gbp: int
    new_subscribers: int
    cancelled: int
    subscribers: int
    """At the end of the month: those before, plus new, less cancelled."""
    marketing_gbp: int
    late_boxes: int
    """Delivered after the promised window."""
    missing_boxes: int
    courier_pence: int
    """Courier cost per box, in pence."""
    waste_kg: int
    tickets: int
    first_reply_min: int
    """Median minutes to the first reply."""
    refunds_gbp: int


def meridian() -> tuple[MeridianMonth, ...]:
    """Return the 24 months, the same on every machine."""
    chance = random.Random(SEED)  # noqa: S311 - invented figures, not secrets
    subscribers = SUBSCRIBERS_BEFORE
    rows: list[MeridianMonth] = []
    for month in MONTHS:
        row = _month(month, subscribers, chance)
        subscribers = row.subscribers
        rows.append(row)
    return tuple(rows)


def _month(month: str, before: int, chance: random.Random) -> MeridianMonth:
    def noise(width: float) -> float:
        return 1 + (chance.random() - 0.5) * width

    season = int(month[5:]) - 1
    new = round(1_830 * NEW_SEASON[season] * factor(month, NEW_BENDS) * noise(0.08))
    cancelled = round(before * 0.0492 * factor(month, CANCEL_BENDS) * noise(0.06))
    after = before + new - cancelled
    boxes = round((before + after) / 2 * 1.62 * BOXES_SEASON[season] * factor(month, BOXES_BENDS) * noise(0.02))
    late = round(boxes * 0.021 * factor(month, LATE_BENDS) * noise(0.16))
    missing = round(boxes * 0.0034 * noise(0.3))
    tickets = round(boxes * 0.047 * noise(0.06) + late * 0.55)
    return MeridianMonth(
        month=month,
        boxes=boxes,
        revenue_gbp=round(boxes * 43.70 * factor(month, PRICE_BENDS) * noise(0.012)),
        new_subscribers=new,
        cancelled=cancelled,
        subscribers=after,
        marketing_gbp=round(new * 38.5 * noise(0.1) / 100) * 100,
        late_boxes=late,
        missing_boxes=missing,
        courier_pence=round(512 * factor(month, COURIER_BENDS) * noise(0.02)),
        waste_kg=round(boxes * 0.058 * factor(month, WASTE_BENDS) * noise(0.1)),
        tickets=tickets,
        first_reply_min=round(94 * factor(month, RESPONSE_BENDS) * noise(0.14)),
        refunds_gbp=round(late * 9.6 * noise(0.08) + missing * 44.5),
    )
