"""Who is calling and for which tenant.

A route states the right it wants as a type:

    Asker = Annotated[Caller, Depends(require("app"))]

* Forbidden (Refused) - the key is good and its role or tenant is not
"""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import TypeAdapter, ValidationError

from registry.errors import InvalidInput, Refused
from registry.insights import Name
from registry.tenants import Keys, Principal, Role, Tenants, Unauthenticated

TENANT_HEADER = "Assay-Tenant"

CACHE_TTL_S = 1.0
"""How long a revoked key may still open something."""
CACHE_SIZE = 4_096
KEY_CHARS_MAX = 200

_NAME = TypeAdapter[str](Name)
_bearer = HTTPBearer(auto_error=False, description="A key from `assay keys create`.")


class Forbidden(Refused):
    """The key is valid and may not do this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who is calling, and for whom."""

    principal: Principal
    tenant: str | None
    """The tenant whose data this request is about; None only for a platform key that named none."""

    def require_tenant(self) -> str:
        """The tenant.

        Raises:
            InvalidInput: a platform key did not say which one.
        """
        if self.tenant is None:
            raise InvalidInput(f"a platform key has no tenant of its own; name one in the header {TENANT_HEADER}")
        return self.tenant

    def require_platform(self) -> None:
        """Let only platform keys through: what follows speaks of every tenant.

        Raises:
            Forbidden: the key ends at a tenant.
        """
        if self.principal.tenant is not None:
            raise Forbidden("this covers all tenants; use a platform key, made without a tenant")


class Access:
    """Checks keys against the registry, and remembers a good one for a second."""

    def __init__(
        self,
        keys: Keys,
        tenants: Tenants,
        *,
        clock: Callable[[], float] = time.monotonic,
        ttl_s: float = CACHE_TTL_S,
        size: int = CACHE_SIZE,
    ) -> None:
        self._keys = keys
        self._tenants = tenants
        self._clock = clock
        self._ttl_s = ttl_s
        self._size = size
        self._known: dict[bytes, tuple[float, Principal]] = {}

    async def principal(self, token: str) -> Principal:
        """Who holds this key; a revocation is noticed within the cache's time.

        Raises:
            Unauthenticated: not a key, or one that is unknown, expired or revoked.
        """
        if not token or len(token) > KEY_CHARS_MAX:
            raise Unauthenticated("send a key: `Authorization: Bearer KEY`")
        # The hash, so that a dump of this process holds no keys.
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        known = self._known.get(digest)
        if known is not None and known[0] > self._clock():
            return known[1]
        checked_at = self._clock()
        self._known.pop(digest, None)
        principal = await asyncio.to_thread(self._keys.authenticate, token)
        while len(self._known) >= self._size:
            del self._known[next(iter(self._known))]
        self._known[digest] = (checked_at + self._ttl_s, principal)
        return principal

    async def caller(self, token: str, roles: tuple[Role, ...], named_tenant: str | None) -> Caller:
        """The caller, if its role is among `roles`; `admin` may do what every role may.

        Raises:
            Unauthenticated: no valid key.
            Forbidden: another role, or another tenant than the key's.
            InvalidInput: the tenant named is no name.
            NotFound: a platform key named a tenant that does not exist.
        """
        principal = await self.principal(token)
        if principal.role not in (*roles, "admin"):
            raise Forbidden(f"role {principal.role!r} may not do this; use a key with role {' or '.join(roles)}")
        if named_tenant is None:
            return Caller(principal=principal, tenant=principal.tenant)
        return Caller(principal=principal, tenant=await self._named(principal, named_tenant))

    async def _named(self, principal: Principal, text: str) -> str:
        try:
            tenant = _NAME.validate_python(text)
        except ValidationError as error:
            raise InvalidInput(f"the header {TENANT_HEADER} does not hold a tenant's id") from error
        if principal.tenant is None:
            await asyncio.to_thread(self._tenants.get, tenant)
        elif principal.tenant != tenant:
            raise Forbidden(f"this key ends at its tenant; leave out {TENANT_HEADER}, or use a platform key")
        return tenant


def require(*roles: Role) -> Callable[..., Awaitable[Caller]]:
    """The dependency that lets only these roles (and `admin`) through."""

    async def caller(
        request: Request,
        credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    ) -> Caller:
        access: Access = request.app.state.access
        if len(request.headers.getlist("authorization")) > 1:
            raise Unauthenticated("send one Authorization header")
        token = credentials.credentials if credentials is not None else ""
        found = await access.caller(token, roles, request.headers.get(TENANT_HEADER))
        request.state.key_id = found.principal.key_id
        if found.tenant is not None:
            request.state.tenant = found.tenant
        return found

    return caller
