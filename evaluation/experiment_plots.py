"""The picture of an experiment: how each arm's difference to the control went, with limits that hold at any time."""

# pyright: basic
# matplotlib ships types that strict mode finds partly unknown.

import io
import math
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

COLOURS = ("#1f5fa8", "#b5542c", "#4f8a3c")
"""One for each arm beside the control."""

Point = tuple[int, float, float, float]
"""Units in both arms, difference, low, high."""


def picture(title: str, what: str, arms: Mapping[str, Sequence[Point]]) -> bytes:
    """Draw the confidence sequences of all arms, as PNG.

    Args:
        title: over the picture.
        what: the metric and its unit, on the axis.
        arms: arm -> its points in order; limits that are not known yet are infinite and left out.
    """
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    axes.axhline(0, color="#333333", linewidth=1)
    for (arm, points), colour in zip(arms.items(), COLOURS, strict=False):
        known = [point for point in points if math.isfinite(point[2]) and math.isfinite(point[3])]
        units = [point[0] for point in known]
        axes.fill_between(units, [p[2] for p in known], [p[3] for p in known], color=colour, alpha=0.2, linewidth=0)
        axes.plot(units, [point[1] for point in known], color=colour, label=arm)
        if known:  # early limits are so wide that they would flatten everything else
            reach = max(3 * (known[-1][3] - known[-1][2]), 1e-12)
            middle = known[-1][1]
            low, high = axes.get_ylim() if arm != next(iter(arms)) else (middle, middle)
            axes.set_ylim(min(low, middle - reach, 0), max(high, middle + reach, 0))
    axes.set_xlabel("units in both arms")
    axes.set_ylabel(f"{what}: arm minus control")
    axes.set_title(title, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    if arms:
        axes.legend(frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
