"""What a use case asks for before an alias moves: `policies/USE_CASE.yaml`."""

from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import Field, StringConstraints, ValidationError, model_validator

from registry.errors import InvalidInput, NotFound
from registry.insights import Name, Record

FILE_BYTES_MAX = 64 * 1024
SERVING_ALIAS = "production"
"""The alias that serves, unless a policy names another one."""
POLICIES_MAX = 200


class UseCaseNotFound(NotFound):
    """There is no policy file for this use case."""

    code = "use-case-not-found"


class InvalidPolicy(InvalidInput):
    """A policy file cannot be used; the message names the field."""


class Requirement(Record):
    """One kind of evidence and what it has to show."""

    kind: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z_]{0,40}$")]
    """Name of a kind; one that nobody knows refuses every version."""
    dataset: Name | None = None
    """Only evidence from this dataset counts; None takes any."""
    dataset_sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None
    """Only evidence from these very rows of the dataset counts; None takes any version of it."""
    questions_min: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """Of kind `evaluation`: fewer scored questions do not count."""
    max_age_days: Annotated[float, Field(gt=0, le=3_650)] | None = None
    """Older evidence does not count for a new promotion; None: no limit."""
    floors: dict[str, float] = Field(default_factory=dict)
    """Metric name → least value; a metric that was not measured refuses."""
    approvers: Annotated[int, Field(ge=1, le=10)] = 1
    """Of kind `approval`: how many people beside the author have to approve; two where nobody knows the author."""
    margin: Annotated[float, Field(gt=0, le=1)] = 0.05
    """Largest tolerable drop against the version in production; smaller ones need more questions to be excluded."""

    @property
    def data(self) -> str | None:
        """The dataset as commands take it, NAME or NAME@HASH; None: any."""
        return f"{self.dataset}@{self.dataset_sha256[:12]}" if self.dataset_sha256 else self.dataset

    @model_validator(mode="after")
    def _hash_has_a_name(self) -> Self:
        if self.dataset_sha256 and not self.dataset:
            raise ValueError("`dataset_sha256` needs `dataset` beside it")
        return self


class Policy(Record):
    """The rules of one use case."""

    use_case: Name
    description: str = ""
    prompt: Name
    """The prompt that answers this use case."""
    alias: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")] = SERVING_ALIAS
    """The alias that serves."""
    tenants: tuple[Name, ...] | None = None
    """Who may use it; None: every tenant."""
    waiver_hours_max: Annotated[float, Field(ge=0, le=24 * 30)] = 24
    """Longest time for which two people may let a version serve without the evidence; 0: never."""
    requires: Annotated[tuple[Requirement, ...], Field(min_length=1, max_length=16)]
    """All of it has to be there. A policy that asks for nothing is refused."""

    @property
    def summary(self) -> str:
        """What the policy rests on, in a few words: `evaluation + lint`."""
        return " + ".join(sorted({requirement.kind for requirement in self.requires}))


def load_policies(directory: Path) -> dict[str, Policy]:
    """Every use case of a directory, by name.

    Raises:
        InvalidPolicy: a file cannot be used, or there are more than POLICIES_MAX.
    """
    names = sorted(path.stem for path in directory.glob("*.yaml"))
    if len(names) > POLICIES_MAX:
        raise InvalidPolicy(f"{str(directory)!r} has {len(names)} use cases; at most {POLICIES_MAX} are served")
    return {name: load_policy(directory, name) for name in names}


def load_policy(directory: Path, use_case: str) -> Policy:
    """Read the policy of a use case from `directory/USE_CASE.yaml`.

    Raises:
        UseCaseNotFound: There is no such file.
        InvalidPolicy: It cannot be read, or a field is missing, unknown or out of its limits.
    """
    known = {path.stem: path for path in sorted(directory.glob("*.yaml"))}  # a look-up: no path is built from input
    path = known.get(use_case)
    if path is None:
        names = ", ".join(known) or "none"
        raise UseCaseNotFound(f"no policy for use case {use_case!r} in {str(directory)!r} (there: {names})")
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise InvalidPolicy(f"{str(path)!r} is larger than {FILE_BYTES_MAX} bytes")
        policy = Policy.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidPolicy(f"cannot read {str(path)!r}: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "document"
        raise InvalidPolicy(f"{str(path)!r}, field {place!r}: {first['msg']}") from error
    if policy.use_case != use_case:
        raise InvalidPolicy(f"{str(path)!r} speaks of use case {policy.use_case!r}; rename the file or the field")
    return policy
