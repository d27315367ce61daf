"""`assay keys`: who may call the API, for which tenant and in which role."""

from typing import Annotated

import typer

app = typer.Typer(name="keys", help="Who may call the API.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
DAY_S = 86_400


@app.command()
def create(
    role: Annotated[str, typer.Option(help="app, reviewer, auditor, engineer, ops or admin.")],
    tenant: Annotated[str, typer.Option(help="Where its rights end; without one it is a platform key.")] = "",
    owner: Annotated[str, typer.Option(help="Who holds it; the user who runs this unless told.")] = "",
    expires_days: Annotated[float, typer.Option(help="Days until it ends; 0: only when revoked.")] = 0,
    as_json: Json = False,
) -> None:
    """Make a key and print `{id, key}`, once and never again."""
    import getpass

    from flows.cli import console
    from flows.cli.recorded import open_registry, recorded
    from registry.tenants import Keys

    holder, lives_s = owner or getpass.getuser(), expires_days * DAY_S or None
    with open_registry() as database:
        keys = Keys(database)
        new = recorded(
            "key-create",
            {"role": role, "tenant": tenant or None},
            lambda: keys.create(role, tenant or None, holder, lives_s),
        )
    console.print_json({"id": new.id, "key": new.key})
    if not as_json:
        console.note("Keep it now: only its hash is stored, so it cannot be shown again.")


@app.command("list")
def list_keys(
    tenant: Annotated[str, typer.Option(help="Only this tenant's.")] = "",
    as_json: Json = False,
) -> None:
    """Show keys, newest first; their secrets cannot be shown."""
    import time

    from flows.cli import console
    from flows.cli.recorded import open_registry
    from registry.tenants import Keys

    with open_registry() as database:
        found = Keys(database).list(tenant or None)
    now_ms = int(time.time() * 1000)
    rows = [
        {
            "id": key.id,
            "tenant": key.tenant,
            "role": key.role,
            "owner": key.owner,
            "state": key.state(now_ms),
            "created_at": console.when(key.created_ms),
            "expires_at": console.when(key.expires_ms),
        }
        for key in found
    ]
    if as_json:
        console.print_json(rows)
        return
    columns = ["id", "tenant", "role", "owner", "state", "created", "expires"]
    shown = [[key.id, key.tenant or "(platform)", key.role, key.owner, key.state(now_ms)] for key in found]
    dates = [[(console.when(ms) or "")[:10] for ms in (key.created_ms, key.expires_ms)] for key in found]
    console.print_table("Keys", columns, [left + right for left, right in zip(shown, dates, strict=True)])


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(metavar="ID", help="Its id, as `assay keys list` shows it.")],
    as_json: Json = False,
) -> None:
    """End a key at once and for good."""
    from flows.cli import console
    from flows.cli.recorded import open_registry, recorded
    from registry.tenants import Keys

    with open_registry() as database:
        keys = Keys(database)
        recorded("key-revoke", {"key": key}, lambda: keys.revoke(key))
    if as_json:
        console.print_json({"id": key, "state": "revoked"})
    else:
        typer.echo(f"key {key} is revoked")
