"""`assay tenants` and `assay keys`."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from flows.cli import keys, tenants
from registry.database import DatabaseUnavailable, open_database
from registry.errors import Conflict, InvalidInput, NotFound
from registry.tenants import Keys, Unauthenticated


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database_url: str) -> Path:
    """A home whose registry is migrated."""
    monkeypatch.setenv("ASSAY_DATABASE_URL", database_url)
    return tmp_path / "home"


def run(noun: Any, *arguments: str) -> Result:
    """Run a command; its errors come through."""
    return CliRunner().invoke(noun.app, list(arguments), catch_exceptions=False)


def log(home: Path) -> list[tuple[str, str, str | None]]:
    """Phase, kind and status of the entries that commands wrote."""
    lines = [json.loads(line) for file in (home / "audit").glob("cli-*") for line in file.read_text().splitlines()]
    return [(line["phase"], line["kind"], line.get("status")) for line in lines if line["phase"] != "note"]


def test_a_key_is_printed_once_and_works(home: Path, database_url: str) -> None:
    """`keys create` prints `{id, key}` and nothing else on standard output; the key opens the API."""
    run(tenants, "create", "acme")
    printed = run(keys, "create", "--role", "app", "--tenant", "acme", "--owner", "Ada")
    new = json.loads(printed.stdout)
    assert list(new) == ["id", "key"]
    assert "cannot be shown again" in printed.stderr
    database = open_database(database_url)
    proven = Keys(database).authenticate(new["key"])
    database.close()
    assert (proven.tenant, proven.role, proven.owner) == ("acme", "app", "Ada")
    assert new["key"] not in run(keys, "list", "--json").stdout


def test_without_a_tenant_it_is_a_platform_key(home: Path) -> None:
    """`keys create` without --tenant makes a key that crosses tenants, and the list says so."""
    run(keys, "create", "--role", "admin", "--owner", "Ada")
    assert "(platform)" in run(keys, "list").stdout
    (row,) = json.loads(run(keys, "list", "--json").stdout)
    assert (row["tenant"], row["role"], row["state"], row["expires_at"]) == (None, "admin", "active", None)


def test_a_revoked_key_is_shown_as_such(home: Path, database_url: str) -> None:
    """`keys revoke` ends a key for good and the list says so."""
    new = json.loads(run(keys, "create", "--role", "admin", "--json").stdout)
    assert json.loads(run(keys, "revoke", new["id"], "--json").stdout) == {"id": new["id"], "state": "revoked"}
    database = open_database(database_url)
    with pytest.raises(Unauthenticated):
        Keys(database).authenticate(new["key"])
    database.close()
    assert json.loads(run(keys, "list", "--json").stdout)[0]["state"] == "revoked"


def test_tenants_are_made_and_listed(home: Path) -> None:
    """`tenants list` shows what `tenants create` made, markup and all."""
    assert "none" in run(tenants, "list").stdout
    made = json.loads(run(tenants, "create", "acme", "--name", "Acme [b]Ltd[/]", "--json").stdout)
    assert json.loads(run(tenants, "list", "--json").stdout) == [made]
    assert "Acme [b]Ltd[/]" in run(tenants, "list").stdout


def test_every_change_stands_in_the_audit_log(home: Path) -> None:
    """Each change has an intent and an outcome, a refused one too, and no secret is written."""
    run(tenants, "create", "acme")
    with pytest.raises(Conflict):
        run(tenants, "create", "acme")
    new = json.loads(run(keys, "create", "--role", "app", "--tenant", "acme").stdout)
    assert log(home) == [
        ("intent", "tenant-create", None),
        ("outcome", "tenant-create", "done"),
        ("intent", "tenant-create", None),
        ("outcome", "tenant-create", "failed"),
        ("intent", "key-create", None),
        ("outcome", "key-create", "done"),
    ]
    secret = new["key"].split("_", 2)[2]
    assert all(secret not in file.read_text() for file in (home / "audit").iterdir())


def test_bad_input_is_refused(home: Path) -> None:
    """Unknown roles, tenants and keys and a negative life time make nothing."""
    with pytest.raises(InvalidInput, match="choose one of app, reviewer"):
        run(keys, "create", "--role", "boss")
    with pytest.raises(NotFound, match="'globex'"):
        run(keys, "create", "--role", "app", "--tenant", "globex")
    with pytest.raises(InvalidInput, match="lives"):
        run(keys, "create", "--role", "app", "--expires-days", "-1")
    with pytest.raises(NotFound, match="'nope'"):
        run(keys, "revoke", "nope")
    assert json.loads(run(keys, "list", "--json").stdout) == []


def test_before_the_first_start_it_says_what_to_run() -> None:
    """Without a registry each command says to run `assay up`."""
    for noun, *arguments in ((keys, "list"), (tenants, "list"), (tenants, "create", "acme")):
        with pytest.raises(DatabaseUnavailable, match="run `assay up`"):
            run(noun, *arguments)
