"""How many extra requests may be made on top of those that were offered: a bucket that offered requests fill."""


class TrafficBudget:
    """Extra requests up to a share of the offered ones, per provider and process.

    Whatever happens, at most `start + share * offered` extra requests are granted. `cap` bounds what a quiet time
    can save up for a bad one.
    """

    def __init__(self, *, share: float, start: float, cap: float) -> None:
        self._share = share
        self._cap = cap
        self._saved = start

    def offer(self) -> None:
        """A request was offered: it pays its share in."""
        self._saved = min(self._saved + self._share, self._cap)

    def take(self) -> bool:
        """Whether an extra request may be made now; it is paid for then."""
        if self._saved < 1.0:
            return False
        self._saved -= 1.0
        return True
