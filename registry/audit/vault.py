"""Content, encrypted per tenant and subject: AES-256-GCM under a data key that the master key wraps.

Erasing a subject destroys its data key. The ciphertext stays where it is, so every hash and proof over it stays
valid, and nobody can read it again. Names of subjects never reach the database, only keyed hashes.
"""

import hashlib
import hmac
import json
import secrets
import time
import uuid
from collections.abc import Callable
from contextlib import nullcontext

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection, delete, func, insert, select, update

from registry.database import Database, insert_or_ignore
from registry.errors import InvalidInput, NotFound, Unavailable
from registry.schema import vault_items, vault_keys

CONTENT_BYTES_MAX = 4 * 1024 * 1024
"""Largest item; an insight with all its passages needs a hundredth of it."""
_KEY_BYTES = 32
_NONCE_BYTES = 12


class Erased(NotFound):
    """The content's key was destroyed; nobody can read it again."""

    code = "erased"


class VaultSealed(Unavailable):
    """The content does not decrypt: another master key, or a row that was altered."""

    code = "vault-sealed"


class Vault:
    """Keeps content apart by tenant and subject, and forgets a subject when told.

    Args:
        database: where ciphertexts and wrapped keys live.
        master_key: 32 bytes; who has them and the database reads everything.
        clock: seconds since the epoch.
        new_id: the id of a new item.
    """

    def __init__(
        self,
        database: Database,
        master_key: bytes,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        if len(master_key) != _KEY_BYTES:
            raise InvalidInput(f"the vault's master key needs {_KEY_BYTES} bytes, not {len(master_key)}")
        self._database = database
        self._wrapping = AESGCM(_derive(master_key, b"assay vault: wrap data keys"))
        self._hashing_key = _derive(master_key, b"assay vault: hash subjects")
        self._clock = clock
        self._new_id = new_id

    def subject_hash(self, tenant: str, subject: str | None) -> str:
        """The name under which a subject may be stored and logged; content without one belongs to the tenant."""
        text = f"{tenant}\0{'-' if subject is None else '+' + subject}"
        return hmac.digest(self._hashing_key, text.encode(), hashlib.sha256).hex()

    def put(
        self, tenant: str, subject: str | None, kind: str, content: bytes, connection: Connection | None = None
    ) -> str:
        """Encrypt and keep content; with a connection, as part of its transaction.

        Returns:
            The item's id.

        Raises:
            InvalidInput: more than CONTENT_BYTES_MAX bytes.
            VaultSealed: the tenant's data key was wrapped by another master key.
        """
        if len(content) > CONTENT_BYTES_MAX:
            raise InvalidInput(f"content has {len(content)} bytes; the vault takes {CONTENT_BYTES_MAX}")
        item, nonce = self._new_id(), secrets.token_bytes(_NONCE_BYTES)
        with self._database.write() if connection is None else nullcontext(connection) as writing:
            key_id, key = self._living_key(writing, tenant, self.subject_hash(tenant, subject))
            row = {
                "id": item,
                "key": key_id,
                "tenant": tenant,
                "kind": kind,
                "nonce": nonce,
                "ciphertext": AESGCM(key).encrypt(nonce, content, _bound(tenant, kind, item)),
                "created_ms": self._now_ms(),
            }
            writing.execute(insert(vault_items).values(**row))
        return item

    def get(self, tenant: str, item: str) -> bytes:
        """Decrypt an item.

        Raises:
            NotFound: there is none, or it is another tenant's.
            Erased: its key was destroyed.
            VaultSealed: the master key is not the one that wrapped it, or the row was altered.
        """
        chosen = (
            select(vault_items, vault_keys.c.wrapped_key)
            .join(vault_keys, vault_items.c.key == vault_keys.c.id)
            .where(vault_items.c.id == item, vault_items.c.tenant == tenant)
        )
        with self._database.read() as connection:
            row = connection.execute(chosen).one_or_none()
        if row is None:
            raise NotFound(f"there is no content {item!r}")
        if row.wrapped_key is None:
            raise Erased(f"content {item!r} was erased")
        key = self._unwrap(tenant, row.key, row.wrapped_key)
        try:
            return AESGCM(key).decrypt(row.nonce, row.ciphertext, _bound(tenant, row.kind, item))
        except InvalidTag as error:
            raise VaultSealed(f"content {item!r} does not decrypt; its row was altered") from error

    def discard(self, item: str, connection: Connection) -> None:
        """Remove an item that another one has replaced, as part of that transaction; without one nothing happens."""
        connection.execute(delete(vault_items).where(vault_items.c.id == item))

    def erase(self, tenant: str, subject: str) -> int:
        """Destroy the subject's key; later content of the same subject gets a new one.

        Returns:
            How many items nobody can read any more.
        """
        living = (
            vault_keys.c.tenant == tenant,
            vault_keys.c.subject_hash == self.subject_hash(tenant, subject),
            vault_keys.c.destroyed_ms.is_(None),
        )
        with self._database.write() as connection:
            key = connection.scalar(select(vault_keys.c.id).where(*living))
            if key is None:
                return 0
            count = connection.scalar(select(func.count()).select_from(vault_items).where(vault_items.c.key == key))
            destroyed = {"wrapped_key": None, "destroyed_ms": self._now_ms()}
            connection.execute(update(vault_keys).where(vault_keys.c.id == key).values(**destroyed))
        self._database.scrub()
        return count or 0

    def _living_key(self, connection: Connection, tenant: str, owner: str) -> tuple[str, bytes]:
        living = select(vault_keys.c.id, vault_keys.c.wrapped_key).where(
            vault_keys.c.tenant == tenant,
            vault_keys.c.subject_hash == owner,
            vault_keys.c.destroyed_ms.is_(None),
        )
        row = connection.execute(living).one_or_none()
        if row is None:
            key_id = self._new_id()
            new = {
                "id": key_id,
                "tenant": tenant,
                "subject_hash": owner,
                "wrapped_key": self._wrap(tenant, key_id, secrets.token_bytes(_KEY_BYTES)),
                "created_ms": self._now_ms(),
            }
            insert_or_ignore(connection, vault_keys, new)  # another process may just have made one
            row = connection.execute(living).one()
        return row.id, self._unwrap(tenant, row.id, row.wrapped_key)

    def _wrap(self, tenant: str, key_id: str, key: bytes) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._wrapping.encrypt(nonce, key, _bound(tenant, "data key", key_id))

    def _unwrap(self, tenant: str, key_id: str, wrapped: bytes) -> bytes:
        nonce, sealed = wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:]
        try:
            return self._wrapping.decrypt(nonce, sealed, _bound(tenant, "data key", key_id))
        except InvalidTag as error:
            raise VaultSealed(
                "the vault does not open with this master key; "
                "set ASSAY_MASTER_KEY (or the file keys/master in home) to the one it was made with"
            ) from error

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)


def _bound(*parts: str) -> bytes:
    """What a ciphertext is tied to: moved to another row, it no longer decrypts."""
    return json.dumps(parts).encode()


def _derive(master_key: bytes, purpose: bytes) -> bytes:
    """One key for each purpose (one block of HKDF-Expand, RFC 5869)."""
    return hmac.new(master_key, purpose + b"\x01", hashlib.sha256).digest()
