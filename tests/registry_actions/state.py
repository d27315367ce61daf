"""What a prompt is made of in the model: versions, records, experiments, and what was said about its contents."""

from dataclasses import dataclass, field

from registry_actions.rulings import Asked, Ruling

PRODUCTION = "production"


@dataclass(slots=True)
class Version:
    """One version in MLflow."""

    content: int
    """What it says now."""
    author: str | None = None
    first: int | None = None
    """What it said when Assay first saw it; None: nobody has looked yet."""
    deleted: bool = False

    def read(self, fetched: int | None = None) -> int | None:
        """Its content, as it was fetched or is now, remembered at the first look; None: changed since."""
        content = self.content if fetched is None else fetched
        self.first = content if self.first is None else self.first
        return content if content == self.first else None


@dataclass(slots=True)
class Record:
    """Somebody was let through."""

    version: int
    content: int
    models: frozenset[str]
    expires: float | None
    grounds: frozenset[int]
    """Ids of rulings and words; lint, which says the same at all times, is left out."""
    place: str = PRODUCTION
    """Where it lets serve: under the alias, or as an arm of an experiment."""
    copied: bool = False
    """It rests on an earlier record: a rollback."""
    revoked: bool = False

    def holds(self, now: float) -> bool:
        """Whether it has not ended by itself."""
        return self.expires is None or now < self.expires


@dataclass(slots=True)
class Experiment:
    """Versions that serve side by side."""

    place: str
    arms: list[int]
    """Contents, the control first."""
    began: float
    ramped: bool
    runs: bool = True
    garbled: bool = False

    @property
    def is_readable(self) -> bool:
        """Whether it is one: two arms of one content are none."""
        return not self.garbled and len({*self.arms}) == len(self.arms)


@dataclass(slots=True)
class Prompt:
    """All that is known about one prompt."""

    approvers: int
    versions: list[Version] = field(default_factory=list[Version])
    aliases: dict[str, int] = field(default_factory=dict[str, int])
    asked: Asked = field(default_factory=Asked)
    """What its policy asks of evaluations."""
    rulings: dict[tuple[int, str], list[Ruling]] = field(default_factory=dict[tuple[int, str], list[Ruling]])
    """By content and model, oldest first."""
    words: dict[tuple[int, str], tuple[bool, int]] = field(default_factory=dict[tuple[int, str], tuple[bool, int]])
    """By content and person: whether their newest word is yes, and its id."""
    waivers: dict[tuple[int, str], tuple[float, int]] = field(default_factory=dict[tuple[int, str], tuple[float, int]])
    """By content and person: when the signature ends, and its id."""
    records: list[Record] = field(default_factory=list[Record])
    experiments: list[Experiment] = field(default_factory=list[Experiment])

    def find(self, number: int | None) -> Version | None:
        """The version of this number, unless it was deleted."""
        there = number is not None and 0 < number <= len(self.versions) and not self.versions[number - 1].deleted
        return self.versions[number - 1] if there and number else None

    def authors(self, content: int) -> set[str | None]:
        """Who wrote it, in whatever version; None: nobody knows."""
        return {version.author for version in self.versions if version.first == content}

    def valid(self, now: float, place: str | None = PRODUCTION) -> list[Record]:
        """Valid records of a place, or of every place, the newest first."""
        there = [record for record in reversed(self.records) if place in {None, record.place}]
        return [record for record in there if not record.revoked and record.holds(now)]

    def proven(self, now: float) -> Record | None:
        """The newest valid record that does not rest on a waiver."""
        return next((record for record in self.valid(now) if record.expires is None), None)

    def valid_for(self, content: int, now: float, place: str = PRODUCTION) -> Record | None:
        """The newest valid record of a content in a place."""
        return next((record for record in self.valid(now, place) if record.content == content), None)

    def followed(self, now: float) -> Record | None:
        """What serves in a process that has every text: where the alias points if that may, else the newest."""
        pointed = self.find(self.aliases.get(PRODUCTION))
        unchanged = pointed is not None and pointed.first in {None, pointed.content}
        wanted = self.valid_for(pointed.content, now) if pointed and unchanged else None
        return wanted or next(iter(self.valid(now)), None)

    @property
    def running(self) -> Experiment | None:
        """What has not ended, whether or not it can be read."""
        return next((each for each in self.experiments if each.runs), None)
