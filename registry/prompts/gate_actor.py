"""Who is asking the MLflow server to change something: proven by a key of Assay, else by MLflow's basic auth.

The model registry does not know who calls it; Flask's request does. Whoever proves nothing is nobody: they may work as
before, and what needs a name counts them as unknown.
"""

# pyright: basic
# Flask's and MLflow's annotations are partial, and strict mode would report their modules rather than ours.

from collections.abc import Callable
from dataclasses import dataclass

from flask import g, has_request_context, request

from registry.prompts.mlflow_rest import KEY_HEADER
from registry.tenants import Keys

KEY_CHARS_MAX = 200
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who is asking."""

    name: str = UNKNOWN
    """For the record: owner of the key, else MLflow's user."""
    person: str | None = None
    """Owner of a platform engineer's own key."""
    user: str | None = None
    """Whom MLflow's basic auth has checked."""
    is_admin: bool = False
    """Holds a platform admin key, or is an admin of MLflow."""


def current_actor(keys: Callable[[], Keys]) -> Actor:
    """Who sent the request that is being served; nobody outside of one.

    Args:
        keys: gives those of the registry, when one has to be looked up.

    Raises:
        Unauthenticated: a key was sent, and it opens nothing.
        DatabaseUnavailable: the keys cannot be looked up.
    """
    if not has_request_context():
        return Actor()
    user = g.get("mlflow_authenticated_user")  # set by MLflow's basic auth alone; the header itself proves nothing
    token = _token()
    if token is None:
        return Actor() if user is None else Actor(name=user, user=user, is_admin=_is_mlflow_admin())
    holder = keys().authenticate(token)
    is_platform = holder.tenant is None
    return Actor(
        name=holder.owner,
        person=holder.owner if is_platform and holder.role == "engineer" else None,
        user=user,
        is_admin=(is_platform and holder.role == "admin") or (user is not None and _is_mlflow_admin()),
    )


def current_author(keys: Callable[[], Keys]) -> str | None:
    """Who counts as the author of what is being written; None: unknown.

    A user of MLflow counts under a name that an engineer's key bears too: only by that name can they be told from those
    who approve. Under any other they could approve their own version with a key.

    Raises:
        Unauthenticated: a key was sent, and it opens nothing.
        DatabaseUnavailable: the keys cannot be looked up.
    """
    actor = current_actor(keys)
    if actor.person is not None or actor.user is None:
        return actor.person
    return actor.user if keys().names_engineer(actor.user) else None


def _token() -> str | None:
    """The key that was sent: in our header, or as the token of MLflow's own client."""
    sent = request.headers.get(KEY_HEADER, "")
    if not sent:
        scheme, _, sent = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not sent.startswith("assay_"):
            return None
    return sent[:KEY_CHARS_MAX]


def _is_mlflow_admin() -> bool:
    from mlflow.server.auth import sender_is_admin  # noqa: PLC0415 - only a server with basic auth has it loaded

    return bool(sender_is_admin())
