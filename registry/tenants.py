"""Tenants, their keys and the roles that keys carry.

A key reads `assay_<id>_<secret>`. The id finds the row; of the secret only the SHA-256 is kept, so that a copy of
the database opens nothing. 256 random bits need no slow hash.
"""

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection, Row, exists, insert, or_, select, update

from registry.database import Database, insert_or_ignore
from registry.errors import AssayError, Conflict, InvalidInput, NotFound
from registry.insights import Name
from registry.schema import keys, tenants

Role = Literal[
    "app",  # asks questions
    "reviewer",  # decides on held answers
    "auditor",  # reads the record
    "engineer",  # writes and approves prompts
    "ops",  # sees providers and switches
    "admin",  # tenants, keys, budgets
]
ROLES: tuple[Role, ...] = get_args(Role)

LABEL_CHARS_MAX = 200
"""Longest tenant name and key owner."""
LIST_MAX = 10_000
"""Most rows a listing returns, newest first."""
EXPIRES_S_MAX = 10 * 366 * 86_400
_SECRET_BYTES = 32
_ID = re.compile(r"[a-z0-9]{1,32}")
_NAME: TypeAdapter[str] = TypeAdapter(Name)


class Unauthenticated(AssayError):
    """The key is missing, unknown, expired or revoked; which of them is nobody's business."""

    code = "unauthenticated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """A company whose data is kept apart from all others."""

    id: str
    name: str
    """What people call it."""
    created_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who is calling, as proven by a key."""

    key_id: str
    tenant: str | None
    """The tenant where the key's rights end; None is a platform key, which crosses tenants."""
    role: Role
    owner: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A key just made: the only moment at which its secret can be seen."""

    id: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """What is kept of a key, less its hash."""

    id: str
    tenant: str | None
    role: Role
    owner: str
    created_ms: int
    expires_ms: int | None
    revoked_ms: int | None

    def state(self, now_ms: int) -> Literal["active", "expired", "revoked"]:
        """Whether it opens anything at `now_ms`."""
        if self.revoked_ms is not None:
            return "revoked"
        return "expired" if self.expires_ms is not None and self.expires_ms <= now_ms else "active"


class Tenants:
    """The tenants of this installation."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    def create(self, id: str, name: str) -> Tenant:  # noqa: A002 - the field's own name
        """Add a tenant.

        Raises:
            InvalidInput: the id or the name cannot be used.
            Conflict: the id is taken.
        """
        tenant = Tenant(id=_tenant_id(id), name=_label("tenant name", name), created_ms=_now_ms(self._clock))
        row = {"id": tenant.id, "name": tenant.name, "created_ms": tenant.created_ms}
        with self._database.write() as connection:
            if not insert_or_ignore(connection, tenants, row):
                raise Conflict(f"there is a tenant {id!r} already; choose another id")
        return tenant

    def list(self) -> Sequence[Tenant]:
        """All tenants by id, at most LIST_MAX."""
        with self._database.read() as connection:
            rows = connection.execute(select(tenants).order_by(tenants.c.id).limit(LIST_MAX)).all()
        return [_tenant(row) for row in rows]

    def get(self, id: str) -> Tenant:  # noqa: A002 - the field's own name
        """One tenant.

        Raises:
            InvalidInput: this cannot be a tenant's id.
            NotFound: there is none of this id.
        """
        with self._database.read() as connection:
            row = connection.execute(select(tenants).where(tenants.c.id == _tenant_id(id))).one_or_none()
        if row is None:
            raise _no_tenant(id)
        return _tenant(row)


class Keys:
    """The keys that open the API."""

    def __init__(
        self,
        database: Database,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] = lambda: secrets.token_hex(6),
    ) -> None:
        self._database = database
        self._clock = clock
        self._new_id = new_id

    def create(self, role: str, tenant: str | None, owner: str, expires_s: float | None = None) -> NewKey:
        """Make a key; without a tenant it is a platform key. The secret is returned here and never again.

        Raises:
            InvalidInput: an unknown role, an unusable owner or life time.
            NotFound: there is no such tenant.
        """
        if role not in ROLES:
            raise InvalidInput(f"there is no role {role!r}; choose one of {', '.join(ROLES)}")
        if expires_s is not None and not 1 <= expires_s <= EXPIRES_S_MAX:
            raise InvalidInput(f"a key lives from 1 second to ten years, not {expires_s!r} seconds")
        now_ms = _now_ms(self._clock)
        key_id, secret = self._new_id(), secrets.token_urlsafe(_SECRET_BYTES)
        row = {
            "id": key_id,
            "tenant": tenant,
            "role": role,
            "owner": _label("owner", owner),
            "secret_sha256": _digest(secret),
            "created_ms": now_ms,
            "expires_ms": None if expires_s is None else now_ms + int(expires_s * 1000),
        }
        with self._database.write() as connection:
            if tenant is not None and not _exists(connection, tenant):
                raise _no_tenant(tenant)
            connection.execute(insert(keys).values(**row))
        return NewKey(id=key_id, key=f"assay_{key_id}_{secret}")

    def list(self, tenant: str | None = None) -> Sequence[KeyRecord]:
        """Keys, newest first, at most LIST_MAX; of one tenant when given, else all."""
        chosen = select(keys).order_by(keys.c.created_ms.desc(), keys.c.id).limit(LIST_MAX)
        if tenant is not None:
            chosen = chosen.where(keys.c.tenant == tenant)
        with self._database.read() as connection:
            rows = connection.execute(chosen).all()
        return [_key(row) for row in rows]

    def revoke(self, id: str) -> None:  # noqa: A002 - the field's own name
        """End a key for good; a second time changes nothing.

        Raises:
            NotFound: there is no such key.
        """
        with self._database.write() as connection:
            known = _ID.fullmatch(id) and connection.scalar(select(keys.c.id).where(keys.c.id == id))
            if not known:
                raise NotFound(f"there is no key {id!r}; see `assay keys list`")
            ended = update(keys).where(keys.c.id == id, keys.c.revoked_ms.is_(None))
            connection.execute(ended.values(revoked_ms=_now_ms(self._clock)))

    def authenticate(self, token: str) -> Principal:
        """Who holds this key.

        Raises:
            Unauthenticated: not a key, or one that is unknown, expired or revoked.
        """
        _, _, rest = token.partition("assay_")
        key_id, _, secret = rest.partition("_")
        if not token.startswith("assay_") or _ID.fullmatch(key_id) is None:
            raise _refusal()
        with self._database.read() as connection:
            row = connection.execute(select(keys).where(keys.c.id == key_id)).one_or_none()
        known = row.secret_sha256 if row is not None else b"\0" * 32
        if not hmac.compare_digest(known, _digest(secret)) or row is None:
            raise _refusal()
        ended = row.expires_ms is not None and row.expires_ms <= _now_ms(self._clock)
        if ended or row.revoked_ms is not None:
            raise _refusal()
        return Principal(key_id=row.id, tenant=row.tenant, role=row.role, owner=row.owner)

    def names_engineer(self, owner: str) -> bool:
        """Whether some platform engineer's key that opens something has exactly this owner.

        Raises:
            DatabaseUnavailable: the keys cannot be looked up.
        """
        engineers = (keys.c.role == "engineer") & keys.c.tenant.is_(None) & (keys.c.owner == owner)
        alive = keys.c.revoked_ms.is_(None) & or_(keys.c.expires_ms.is_(None), keys.c.expires_ms > _now_ms(self._clock))
        with self._database.read() as connection:
            return connection.scalar(select(exists().where(engineers, alive))) is True


def _exists(connection: Connection, tenant: str) -> bool:
    chosen = select(tenants.c.id).where(tenants.c.id == _tenant_id(tenant))
    return connection.scalar(chosen) is not None


def _tenant_id(text: str) -> str:
    try:
        return _NAME.validate_python(text)
    except ValidationError as error:
        raise InvalidInput(
            f"{text!r} cannot be a tenant's id; use lower-case letters, digits, '_', '.', '-', at most 63"
        ) from error


def _label(what: str, text: str) -> str:
    if not text.strip() or len(text) > LABEL_CHARS_MAX or not text.isprintable():
        raise InvalidInput(f"the {what} needs 1 to {LABEL_CHARS_MAX} printable characters, not {text[:40]!r}")
    return text.strip()


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _now_ms(clock: Callable[[], float]) -> int:
    return int(clock() * 1000)


def _no_tenant(tenant: str) -> NotFound:
    return NotFound(f"there is no tenant {tenant!r}; make it with `assay tenants create`")


def _refusal() -> Unauthenticated:
    return Unauthenticated("this key is missing, unknown, expired or revoked; send `Authorization: Bearer KEY`")


def _tenant(row: Row[Any]) -> Tenant:
    return Tenant(id=row.id, name=row.name, created_ms=row.created_ms)


def _key(row: Row[Any]) -> KeyRecord:
    return KeyRecord(
        id=row.id,
        tenant=row.tenant,
        role=row.role,
        owner=row.owner,
        created_ms=row.created_ms,
        expires_ms=row.expires_ms,
        revoked_ms=row.revoked_ms,
    )
