"""Meridian Larder's metric tables: three families, one file per half of its fiscal year (November to October)."""

from evaluation.data.make.meridian_metrics import MeridianMonth, meridian
from evaluation.data.make.months import long_name
from evaluation.data.make.tables import Table

HALVES = ("fy25-h1", "fy25-h2", "fy26-h1", "fy26-h2")
"""Names of the four halves, six months each."""


def tables() -> tuple[Table, ...]:
    """Return every table, oldest first."""
    months = meridian()
    return tuple(
        table
        for index, half in enumerate(HALVES)
        for rows in (months[index * 6 : index * 6 + 6],)
        for table in (_sales(half, rows), _delivery(half, rows), _support(half, rows))
    )


def _sales(half: str, rows: tuple[MeridianMonth, ...]) -> Table:
    return Table(
        document=f"tables/sales-{half}.csv",
        title=f"Sales {half.upper()}",
        note="",
        columns=(
            "month",
            "boxes delivered",
            "revenue (GBP)",
            "new subscribers",
            "cancelled subscribers",
            "subscribers at month end",
            "marketing spend (GBP)",
        ),
        rows=tuple(
            (
                long_name(r.month),
                r.boxes,
                r.revenue_gbp,
                r.new_subscribers,
                r.cancelled,
                r.subscribers,
                r.marketing_gbp,
            )
            for r in rows
        ),
    )


def _delivery(half: str, rows: tuple[MeridianMonth, ...]) -> Table:
    return Table(
        document=f"tables/delivery-{half}.html",
        title=f"Delivery scorecard {half.upper().replace('-', ' ')}",
        note="Late: after the promised window. Courier cost is per box, in pence. Waste is weighed at the depots.",
        columns=("Month", "Late boxes", "Missing boxes", "Courier cost per box (p)", "Food waste (kg)"),
        rows=tuple((long_name(r.month), r.late_boxes, r.missing_boxes, r.courier_pence, r.waste_kg) for r in rows),
    )


def _support(half: str, rows: tuple[MeridianMonth, ...]) -> Table:
    return Table(
        document=f"tables/support-{half}.csv",
        title=f"Support {half.upper()}",
        note="",
        columns=("month", "support tickets", "median first reply (minutes)", "refunds (GBP)"),
        rows=tuple((long_name(r.month), r.tickets, r.first_reply_min, r.refunds_gbp) for r in rows),
    )
