"""The one picture of an evaluation: every metric with its interval, and the answers right by tag."""

# pyright: basic
# matplotlib ships types that strict mode finds partly unknown.

import io
from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation.statistics import Estimate
from evaluation.summary import Summary

CANDIDATE, BASELINE = "#1f5fa8", "#b0b7c1"


def picture(title: str, candidate: Summary, baseline: Summary | None) -> bytes:
    """Draw means with 95 % intervals, as PNG."""
    figure = Figure(figsize=(11, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    _bars(left, "Metrics", candidate.metrics, baseline.metrics if baseline else {})
    _bars(right, "Answers right, by tag", candidate.by_tag, baseline.by_tag if baseline else {})
    if baseline is not None:
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
    figure.suptitle(title)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _bars(axes: Axes, title: str, candidate: Mapping[str, Estimate], baseline: Mapping[str, Estimate]) -> None:
    names = [*candidate][::-1]
    height = 0.38 if baseline else 0.7
    for offset, estimates, colour, label in (
        (height / 2 if baseline else 0.0, candidate, CANDIDATE, "this version"),
        (-height / 2, baseline, BASELINE, "in production"),
    ):
        shown = [(place, estimates[name]) for place, name in enumerate(names) if name in estimates]
        if not shown:
            continue
        values = [estimate.value for _, estimate in shown]
        whiskers = [
            [max(estimate.value - estimate.low, 0.0) for _, estimate in shown],
            [max(estimate.high - estimate.value, 0.0) for _, estimate in shown],
        ]
        axes.barh(
            [place + offset for place, _ in shown],
            values,
            height=height,
            xerr=whiskers,
            color=colour,
            label=label if title == "Metrics" else None,
            error_kw={"elinewidth": 1, "capsize": 2, "ecolor": "#333333"},
        )
    axes.set_yticks(range(len(names)), [_label(name, candidate[name]) for name in names])
    axes.set_xlim(0, 1)
    axes.set_title(title, loc="left")
    axes.spines[["top", "right"]].set_visible(False)


def _label(name: str, estimate: Estimate) -> str:
    return f"{name} (n={estimate.n})"
