"""The root of every error that Assay raises on purpose.

* AssayError (carries the problem code that HTTP and the command line show)
  x InvalidInput - the caller sent something wrong; says what to change
  x NotFound     - no such thing, or not for this caller
  x Conflict     - it clashes with what is already there
  x Refused      - understood, and not allowed by a policy or a role
  x Unavailable  - a dependency is down; the same call may work later

Rooms derive their own errors from these and keep them beside the code that raises them. How an error is
rendered is decided once, in `serving.problems` for HTTP and in `flows.cli.console` for people.
"""

from typing import ClassVar

JsonValue = str | int | float | bool | None | list["JsonValue"] | dict[str, "JsonValue"]


class AssayError(Exception):
    """An expected failure: one sentence for a person, a code for a machine."""

    code: ClassVar[str] = "internal-error"
    """The problem code of docs/problems.md."""

    def __init__(self, message: str, **details: JsonValue) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        """Extra members of the problem document, e.g. `tried` or `resets_at`."""


class InvalidInput(AssayError):
    """The caller sent something wrong; the message says what to change."""

    code = "invalid-request"


class NotFound(AssayError):
    """There is no such thing, or it is not this caller's to see."""

    code = "not-found"


class Conflict(AssayError):
    """The request clashes with what is already recorded."""

    code = "conflict"


class Refused(AssayError):
    """Understood, and not allowed by a policy or a role."""

    code = "forbidden"


class Unavailable(AssayError):
    """A dependency is down or slow; the same call may work later."""

    code = "unavailable"
