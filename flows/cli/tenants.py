"""`assay tenants`: the companies whose data is kept apart."""

from typing import Annotated

import typer

app = typer.Typer(name="tenants", help="The companies whose data is kept apart.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]


@app.command()
def create(
    tenant: Annotated[str, typer.Argument(metavar="ID", help="Lower-case id, e.g. `acme`; it cannot be changed.")],
    name: Annotated[str, typer.Option(help="What people call it; the id unless told.")] = "",
    as_json: Json = False,
) -> None:
    """Add a tenant."""
    from flows.cli import console
    from flows.cli.recorded import open_registry, recorded
    from registry.tenants import Tenants

    with open_registry() as database:
        tenants = Tenants(database)
        made = recorded("tenant-create", {"tenant": tenant}, lambda: tenants.create(tenant, name or tenant))
    if as_json:
        console.print_json({"id": made.id, "name": made.name, "created_at": console.when(made.created_ms)})
    else:
        typer.echo(f"tenant {made.id} is there; give it documents with `assay ingest PATH --tenant {made.id}`")


@app.command("list")
def list_tenants(as_json: Json = False) -> None:
    """Show all tenants."""
    from flows.cli import console
    from flows.cli.recorded import open_registry
    from registry.tenants import Tenants

    with open_registry() as database:
        found = Tenants(database).list()
    rows = [{"id": tenant.id, "name": tenant.name, "created_at": console.when(tenant.created_ms)} for tenant in found]
    if as_json:
        console.print_json(rows)
    else:
        console.print_table("Tenants", ["id", "name", "created"], [list(row.values()) for row in rows])
