"""What the engine refuses or fails at; each error carries its HTTP status.

* EngineProblem
  x WrongInput    - 400, understood and not possible
  x Unauthorized  - 401, no or a wrong key
  x Forbidden     - 403, a Host that is not ours
  x NotFound      - 404, no such collection or point
  x Conflict      - 409, the collection is already there
  x TooLarge      - 413, body or batch over a limit
  x Unprocessable - 422, JSON that does not say what the call needs
  x Broken        - 503, the engine failed inside this collection
* StartRefused - the process cannot start; one sentence for a person
"""

from typing import ClassVar


class EngineProblem(Exception):
    """One sentence for the client, shown as `{"status": {"error": …}}`."""

    status: ClassVar[int] = 500


class WrongInput(EngineProblem):
    """Understood and not possible, e.g. a filter on a field without an index."""

    status = 400


class Unauthorized(EngineProblem):
    """No api key, or a wrong one."""

    status = 401


class Forbidden(EngineProblem):
    """The request was made for a host name that is not ours."""

    status = 403


class NotFound(EngineProblem):
    """No such collection or point."""

    status = 404


class Conflict(EngineProblem):
    """The collection is already there."""

    status = 409


class TooLarge(EngineProblem):
    """The body is over its limit."""

    status = 413


class Unprocessable(EngineProblem):
    """The JSON does not say what the call needs."""

    status = 422


class Broken(EngineProblem):
    """The engine failed inside this collection; the log has the reason."""

    status = 503


class StartRefused(Exception):
    """The process cannot start; the message says what to change."""
