"""A fake clock: time that a test moves by hand."""


class FakeClock:
    """Stands still until its `now` is changed."""

    def __init__(self, now: float = 1_795_000_000.0) -> None:
        self.now = now
        """Seconds since the epoch."""

    def __call__(self) -> float:
        """The time of the moment."""
        return self.now
