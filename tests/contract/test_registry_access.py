"""What tenants and keys promise, on SQLite and on PostgreSQL alike."""

import pytest
from fakes.fake_clock import FakeClock
from sqlalchemy import text

from registry.database import Database
from registry.errors import Conflict, InvalidInput, NotFound
from registry.tenants import ROLES, Keys, Principal, Tenants, Unauthenticated

pytestmark = pytest.mark.contract


class TestTenants:
    """registry.tenants.Tenants."""

    def test_what_was_created_is_found(self, registry: Database, clock: FakeClock) -> None:
        """A tenant is listed as it was made."""
        made = Tenants(registry, clock).create("acme", "Acme & Söhne")
        assert Tenants(registry).get("acme") == made
        assert list(Tenants(registry).list()) == [made]

    def test_an_id_is_given_once(self, registry: Database, acme: str) -> None:
        """A second tenant of the same id is a conflict and the first one stays."""
        with pytest.raises(Conflict, match="'acme'"):
            Tenants(registry).create(acme, "Other")
        assert Tenants(registry).get(acme).name == "Acme"

    @pytest.mark.parametrize("bad", ["", "Acme", "a b", "-acme", "a" * 64, "a\0", "ä", "../x"])
    def test_unusable_ids_are_refused(self, registry: Database, bad: str) -> None:
        """An id is lower-case letters, digits and a few signs, wherever it comes in."""
        with pytest.raises(InvalidInput):
            Tenants(registry).create(bad, "Name")
        with pytest.raises(InvalidInput):
            Tenants(registry).get(bad)

    @pytest.mark.parametrize("bad", ["", "  ", "a\nb", "a\0", "\x1b[31m", "n" * 201])
    def test_unusable_names_are_refused(self, registry: Database, bad: str) -> None:
        """A name is printable and short."""
        with pytest.raises(InvalidInput, match="printable"):
            Tenants(registry).create("acme", bad)

    def test_an_unknown_tenant_is_said_so(self, registry: Database) -> None:
        """Asking for a tenant that is not there names it."""
        with pytest.raises(NotFound, match="'globex'"):
            Tenants(registry).get("globex")


class TestKeys:
    """registry.tenants.Keys."""

    @pytest.mark.parametrize("role", ROLES)
    def test_a_key_proves_its_holder(self, registry: Database, acme: str, role: str) -> None:
        """The key leads back to tenant, role and owner."""
        new = Keys(registry).create(role, acme, "Ada")
        proven = Keys(registry).authenticate(new.key)
        assert proven == Principal(key_id=new.id, tenant=acme, role=role, owner="Ada")  # pyright: ignore[reportArgumentType]

    def test_without_a_tenant_it_is_a_platform_key(self, registry: Database) -> None:
        """A platform key has no tenant."""
        new = Keys(registry).create("admin", None, "Ada")
        assert Keys(registry).authenticate(new.key).tenant is None

    def test_the_secret_is_not_stored(self, registry: Database, acme: str) -> None:
        """Nothing in the row contains the secret."""
        new = Keys(registry).create("app", acme, "Ada")
        secret = new.key.split("_", 2)[2]
        with registry.read() as connection:
            row = connection.execute(text("SELECT * FROM keys")).one()
        assert all(secret.encode() not in bytes(str(value), "utf-8") for value in row)
        assert new.key not in repr(Keys(registry).list(acme))

    def test_a_wrong_secret_opens_nothing(self, registry: Database, acme: str) -> None:
        """The id alone is worth nothing."""
        new = Keys(registry).create("app", acme, "Ada")
        with pytest.raises(Unauthenticated):
            Keys(registry).authenticate(new.key[:-1] + ("A" if new.key[-1] != "A" else "B"))

    @pytest.mark.parametrize(
        "token", ["", "assay_", "assay__", "Bearer x", "assay_0000_x", "assay_\0_x", "assay_ä_\udc80", "x" * 10_000]
    )
    def test_what_is_no_key_is_refused(self, registry: Database, token: str) -> None:
        """Garbage is unauthenticated, never an error."""
        with pytest.raises(Unauthenticated):
            Keys(registry).authenticate(token)

    def test_a_revoked_key_opens_nothing(self, registry: Database, acme: str) -> None:
        """Revoking holds at once; revoking again changes nothing."""
        new = Keys(registry).create("app", acme, "Ada")
        Keys(registry).revoke(new.id)
        Keys(registry).revoke(new.id)
        with pytest.raises(Unauthenticated):
            Keys(registry).authenticate(new.key)

    def test_an_expired_key_opens_nothing(self, registry: Database, acme: str, clock: FakeClock) -> None:
        """A key works up to its last second and not after."""
        keys = Keys(registry, clock)
        new = keys.create("app", acme, "Ada", expires_s=10)
        clock.now += 9.5
        assert keys.authenticate(new.key).key_id == new.id
        clock.now += 0.5
        with pytest.raises(Unauthenticated):
            keys.authenticate(new.key)

    def test_states_are_told_apart(self, registry: Database, acme: str, clock: FakeClock) -> None:
        """A listing says which keys are active, expired and revoked, newest first."""
        keys = Keys(registry, clock)
        made: list[str] = []
        for expires_s in (None, 1, None):
            made.append(keys.create("app", acme, "Ada", expires_s).id)
            clock.now += 1
        keys.revoke(made[2])
        found = [(key.id, key.state(int(clock.now * 1000))) for key in keys.list(acme)]
        assert found == [(made[2], "revoked"), (made[1], "expired"), (made[0], "active")]

    def test_a_listing_of_one_tenant_shows_no_other(self, registry: Database, acme: str) -> None:
        """Keys of another tenant and platform keys stay out of a tenant's list."""
        Tenants(registry).create("globex", "Globex")
        own = Keys(registry).create("app", acme, "Ada")
        Keys(registry).create("app", "globex", "Bob")
        Keys(registry).create("admin", None, "Eve")
        assert [key.id for key in Keys(registry).list(acme)] == [own.id]
        assert len(Keys(registry).list()) == 3

    def test_bad_requests_are_refused(self, registry: Database, acme: str) -> None:
        """Unknown roles and tenants, empty owners and odd life times make no key."""
        keys = Keys(registry)
        with pytest.raises(InvalidInput, match="'boss'"):
            keys.create("boss", acme, "Ada")
        with pytest.raises(NotFound, match="'globex'"):
            keys.create("app", "globex", "Ada")
        with pytest.raises(InvalidInput, match="owner"):
            keys.create("app", acme, "")
        for expires_s in (0, -1, float("nan"), float("inf")):
            with pytest.raises(InvalidInput):
                keys.create("app", acme, "Ada", expires_s)
        with pytest.raises(NotFound):
            keys.revoke("nope\0")
        assert list(keys.list()) == []
