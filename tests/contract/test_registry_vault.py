"""What the vault promises, on SQLite and on PostgreSQL alike."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from sqlalchemy import select

from registry.audit.vault import Erased, Vault, VaultSealed
from registry.database import Database
from registry.errors import NotFound
from registry.schema import vault_items, vault_keys

pytestmark = pytest.mark.contract

MASTER_KEY = bytes(range(32))


class TestVault:
    """registry.audit.vault."""

    def test_content_comes_back(self, registry: Database) -> None:
        """What was put is got, byte for byte, with and without a subject."""
        vault = Vault(registry, MASTER_KEY)
        for subject in (None, "ada"):
            for content in (b"", b"\0\xff" * 5000):
                assert vault.get("acme", vault.put("acme", subject, "note", content)) == content

    def test_no_content_and_no_subject_stands_in_the_database(self, registry: Database) -> None:
        """Rows hold ciphertext and keyed hashes only."""
        Vault(registry, MASTER_KEY).put("acme", "ada@example.org", "note", b"a planted secret")
        with registry.read() as connection:
            rows = [*connection.execute(select(vault_items)), *connection.execute(select(vault_keys))]
        written = b"".join(value if isinstance(value, bytes) else str(value).encode() for row in rows for value in row)
        assert b"secret" not in written
        assert b"ada" not in written

    def test_another_tenant_gets_nothing(self, registry: Database) -> None:
        """An item is not there for any tenant but its own."""
        vault = Vault(registry, MASTER_KEY)
        item = vault.put("acme", None, "note", b"ours")
        with pytest.raises(NotFound):
            vault.get("globex", item)

    def test_erasing_takes_one_subject_only(self, registry: Database) -> None:
        """After an erasure the subject's items are gone for good; all others stay, and new ones can come."""
        vault = Vault(registry, MASTER_KEY)
        gone = [vault.put("acme", "ada", "note", b"1"), vault.put("acme", "ada", "note", b"2")]
        kept = [("acme", "bob"), ("acme", None), ("globex", "ada")]
        others = [(tenant, vault.put(tenant, subject, "note", b"kept")) for tenant, subject in kept]
        assert vault.erase("acme", "ada") == 2
        for item in gone:
            with pytest.raises(Erased):
                vault.get("acme", item)
        assert [vault.get(tenant, item) for tenant, item in others] == [b"kept"] * 3
        again = vault.put("acme", "ada", "note", b"new")
        assert vault.get("acme", again) == b"new"
        with pytest.raises(Erased):
            vault.get("acme", gone[0])

    def test_erasing_nothing_is_no_error(self, registry: Database) -> None:
        """A subject without content, or erased before, counts 0."""
        vault = Vault(registry, MASTER_KEY)
        vault.put("acme", "ada", "note", b"1")
        assert (vault.erase("acme", "bob"), vault.erase("acme", "ada"), vault.erase("acme", "ada")) == (0, 1, 0)

    def test_another_master_key_opens_nothing(self, registry: Database) -> None:
        """A copy of the database without the master key is sealed, and the message says what to set."""
        item = Vault(registry, MASTER_KEY).put("acme", None, "note", b"ours")
        with pytest.raises(VaultSealed, match="ASSAY_MASTER_KEY"):
            Vault(registry, bytes(32)).get("acme", item)

    @pytest.mark.parametrize("column", ["ciphertext", "nonce", "kind", "tenant"])
    def test_an_altered_row_does_not_decrypt(self, registry: Database, column: str) -> None:
        """Ciphertext is bound to its row: change or move anything and it is refused."""
        vault = Vault(registry, MASTER_KEY)
        item = vault.put("acme", None, "note", b"ours")
        values = {"ciphertext": b"\0" * 20, "nonce": b"\0" * 12, "kind": "other", "tenant": "globex"}
        with registry.write() as connection:
            connection.execute(vault_items.update().values(**{column: values[column]}))
        with pytest.raises(VaultSealed):
            vault.get("globex" if column == "tenant" else "acme", item)

    def test_a_failed_transaction_puts_nothing(self, registry: Database) -> None:
        """An item put within another transaction is undone with it."""
        vault = Vault(registry, MASTER_KEY)
        with suppress(ZeroDivisionError), registry.write() as connection:
            vault.put("acme", None, "note", b"1", connection)
            raise ZeroDivisionError
        with registry.read() as connection:
            assert connection.execute(select(vault_items)).all() == []

    def test_threads_agree_on_one_key(self, registry: Database) -> None:
        """Items put at the same moment for a new subject can all be read, and erased as one."""
        vault = Vault(registry, MASTER_KEY)
        start = threading.Barrier(8)

        def put(number: int) -> str:
            start.wait()
            return vault.put("acme", "ada", "note", str(number).encode())

        with ThreadPoolExecutor(8) as pool:
            items = list(pool.map(put, range(8)))
        assert [vault.get("acme", item) for item in items] == [str(number).encode() for number in range(8)]
        assert vault.erase("acme", "ada") == 8
