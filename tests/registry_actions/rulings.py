"""Which evaluations let a content through, from the rules and without the product's code."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

DAY = 86_400.0
RULING_DAYS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What an evaluation of a content with a model came to."""

    passed: bool
    at: float
    against: int | None
    """The content that it was compared with."""
    id: int
    data: str
    """Name of the data set."""
    rows: int
    """Which rows the data set had."""
    part: bool
    """Whether only one tenant's rows were asked."""
    questions: int
    margin: float
    run: int
    """A resumed evaluation keeps it."""

    def goes_on(self, earlier: "Ruling") -> bool:
        """Whether it is an earlier one, resumed: the same in all, and with more questions."""
        same = all(getattr(self, name) == getattr(earlier, name) for name in ("run", "rows", "part", "against"))
        return same and self.questions > earlier.questions


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a policy asks of an evaluation."""

    data: str | None = None
    """None: whatever data set."""
    rows: int | None = None
    """None: whatever rows."""
    questions: int = 1
    margin: float = 0.05

    def hears(self, ruling: Ruling) -> bool:
        """Whether it looks at a ruling at all; a part of the rows never proves, and says FAIL where none are named."""
        named = self.data in {None, ruling.data} and self.rows in {None, ruling.rows}
        return named and not (ruling.part and (ruling.passed or self.rows is not None))


def counting(
    rulings: Sequence[Ruling], asked: Asked, rival: int | None, now: float, lifted: Callable[[Ruling], bool]
) -> Ruling | None:
    """The ruling that proves a content with a model; None: nothing does.

    Args:
        rulings: of the content with the model, oldest first.
        asked: by the policy.
        rival: the content to be compared with; None: any.
        now: seconds.
        lifted: whether enough people approved since a FAIL.
    """
    heard = [ruling for ruling in reversed(rulings) if asked.hears(ruling)]
    if not heard:
        return None
    newest = heard[0]
    enough = newest.questions >= asked.questions and (newest.against is None or newest.margin <= asked.margin)
    fresh = newest.passed and now - newest.at <= RULING_DAYS * DAY
    if not (enough and fresh and rival in {None, newest.against}):
        return None
    for data in {ruling.data for ruling in heard}:
        on_it = [ruling for ruling in heard if ruling.data == data]
        if not all(each.passed or (on_it[0].passed and (on_it[0].goes_on(each) or lifted(each))) for each in on_it):
            return None
    return newest
