"""`assay datasets`: ground truth in, kept by content hash."""

from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(name="datasets", help="Ground truth, kept by content hash.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]
SAMPLE = "sample"


@app.command("import")
def import_dataset(
    file: Annotated[
        Path | None, typer.Argument(help="JSON Lines, see docs/evaluation.md; without it the packaged sample.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name to keep it under; without it that of the file.")] = None,
    as_json: Json = False,
) -> None:
    """Check a ground truth row by row and keep it; the same rows again change nothing."""
    from flows.cli import console
    from flows.settings import FlowSettings
    from registry.datasets import Datasets, read_rows

    source = file or _packaged_sample()
    kept = name or (SAMPLE if file is None else source.stem.lower())
    info = Datasets(FlowSettings().home).add(kept, read_rows(source))
    if as_json:
        console.print_json(_document(info))
    else:
        typer.echo(f"{info.name}@{info.sha256[:12]}: {info.rows} rows")


@app.command("list")
def list_datasets(as_json: Json = False) -> None:
    """The current version of every dataset."""
    from flows.cli import console
    from flows.settings import FlowSettings
    from registry.datasets import Datasets

    infos = Datasets(FlowSettings().home).list()
    if as_json:
        console.print_json([_document(info) for info in infos])
    else:
        rows = [(i.name, i.sha256[:12], i.rows, f"{i.imported_at:%Y-%m-%d %H:%M} UTC") for i in infos]
        console.print_table("Datasets", ("name", "hash", "rows", "imported"), rows)


@app.command()
def show(
    dataset: Annotated[str, typer.Argument(help="NAME or NAME@HASH.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="The rows as JSON Lines.")] = False,
) -> None:
    """What a dataset holds: rows by split, tenant and tag."""
    from collections import Counter

    from flows.cli import console
    from flows.settings import FlowSettings
    from registry.datasets import Datasets

    found = Datasets(FlowSettings().home).get(dataset)
    if as_json:
        console.print_json_lines(row.model_dump(mode="json", exclude_defaults=True) for row in found.rows)
        return
    of_split = Counter(("split", row.split) for row in found.rows)
    of_tenant = Counter(("tenant", row.tenant or "(any)") for row in found.rows)
    of_answer = Counter(("answer", "none" if row.unanswerable else "in the documents") for row in found.rows)
    of_tag = Counter(("tag", tag) for row in found.rows for tag in row.tags)
    rows = [(*key, n) for counts in (of_split, of_tenant, of_answer, of_tag) for key, n in counts.most_common()]
    console.print_table(f"{found.info.name}@{found.info.sha256}", ("by", "value", "rows"), rows)


def _packaged_sample() -> Path:
    """The ground truth that comes with Assay."""
    import evaluation.data

    return Path(evaluation.data.__file__).parent / "sample" / "ground_truth.jsonl"


def _document(info: Any) -> dict[str, Any]:
    return {"name": info.name, "sha256": info.sha256, "rows": info.rows, "imported_at": info.imported_at}
