"""`assay evaluate`: prompts on ground truth, rankings against judgements, one score file against another."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(name="evaluate", help="Measure prompts and retrieval, and decide by it.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
METRICS = "ndcg@10,map,mrr,recall@100,precision@10"


@app.command()
def run(
    prompt: Annotated[str, typer.Option(help="NAME@ALIAS or NAME/VERSION.", show_default=False)],
    provider: Annotated[
        str | None, typer.Option(help="Who answers, alone; without it the first of ASSAY_PROVIDERS.")
    ] = None,
    dataset: Annotated[str, typer.Option(help="NAME or NAME@HASH, see `assay datasets list`.")] = "sample",
    split: Annotated[
        Literal["dev", "test", "all"], typer.Option(help="Only `test` makes evidence; the others are for looking.")
    ] = "test",
    tenant: Annotated[
        str | None, typer.Option(help="Whose rows and documents, for a look; without it every row under its own.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="NAME/VERSION to compare with; without it the one last promoted.")
    ] = None,
    resume: Annotated[str | None, typer.Option(help="Id of a stopped evaluation to go on with.")] = None,
    as_json: Json = False,
) -> None:
    """Evaluate a prompt version; the verdict becomes evidence. Ends with 1 unless the verdict is PASS."""
    from flows.cli import console
    from flows.cli.evaluation_run import print_outcome, run_flow

    outcome = run_flow(
        prompt=prompt,
        provider=provider,
        dataset=dataset,
        split=None if split == "all" else split,
        tenant=tenant,
        against=against,
        resume=resume,
    )
    if as_json:
        console.print_json(outcome)
    else:
        print_outcome(outcome)
    if outcome["verdict"] != "PASS":
        raise typer.Exit(1)


@app.command()
def retrieval(
    run_file: Annotated[Path, typer.Option("--run", help="TREC run: query Q0 document rank score tag.")],
    qrels: Annotated[Path, typer.Option(help="TREC judgements: query iteration document grade.")],
    metrics: Annotated[str, typer.Option(help="Names parted by commas, K free: ndcg@K map mrr recall@K ...")] = METRICS,
    as_json: Json = False,
) -> None:
    """Score a ranking as `trec_eval -c` does."""
    from evaluation.retrieval_metrics import evaluate_run
    from evaluation.score_files import read_qrels, read_run
    from flows.cli import console

    names = [name.strip() for name in metrics.split(",") if name.strip()]
    result = evaluate_run(read_qrels(qrels), read_run(run_file), names)
    if as_json:
        console.print_json(result)
    else:
        rows = [(name, f"{value:.4f}") for name, value in result["mean"].items()]
        console.print_table(f"{run_file.name}, {len(result['per_query'])} queries", ("metric", "mean"), rows)


@app.command()
def gate(
    baseline: Annotated[Path, typer.Option(help="JSON Lines {id, score, cluster?} of the version in production.")],
    candidate: Annotated[Path, typer.Option(help="The same for the new version.")],
    margin: Annotated[float, typer.Option(help="Largest tolerable drop, in units of the score.")] = 0.05,
    alpha: Annotated[float, typer.Option(help="Rate of false alarms.")] = 0.05,
    as_json: Json = False,
) -> None:
    """Decide whether a candidate may replace the baseline. Ends with 1 unless the verdict is PASS."""
    from evaluation.gates import decide
    from evaluation.score_files import pair_scores, read_scores
    from flows.cli import console

    pairs = pair_scores(read_scores(baseline), read_scores(candidate))
    result = decide(pairs.baseline, pairs.candidate, margin=margin, alpha=alpha, clusters=pairs.clusters)
    if as_json:
        console.print_json({**asdict(result), "unscored": pairs.unscored})
    else:
        rows = [
            ("difference", f"{result.difference:+.4f}"),
            (f"{1 - alpha:.0%} interval", f"{result.ci[0]:+.4f} to {result.ci[1]:+.4f}"),
            ("smallest drop it would show", f"{result.mde:.4f}"),
            ("tolerable drop", f"{margin:g}"),
            ("pairs", f"{result.n}, {pairs.unscored} more unscored"),
            ("pairs needed", result.n_needed),
            ("p, one-sided", f"{result.p:.4f}"),
            ("method", result.method),
        ]
        console.print_table(f"Verdict: {result.verdict}", ("", "candidate against baseline"), rows)
    if result.verdict != "PASS":
        raise typer.Exit(1)
