"""`assay experiments`: let versions of a prompt serve side by side, and see which does better."""

from typing import Annotated

import typer

from flows.cli.options import VERSION_MAX, unicode_text, why

app = typer.Typer(
    name="experiments",
    help="Let versions of a prompt serve side by side, and see which does better.",
    no_args_is_help=True,
)

Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
Name = Annotated[str, typer.Argument(help="The prompt.", show_default=False)]
MetricName = Annotated[
    str, typer.Option("--metric", help="What decides: accepted, rating, grounded, abstained, blocked, cost or latency.")
]
Versions = Annotated[
    list[int],
    typer.Argument(
        metavar="VERSION...", help="To compare with production.", min=1, max=VERSION_MAX, show_default=False
    ),
]
Weights = Annotated[str, typer.Option(help="Shares of the control and the versions, e.g. `2,1,1`; equal unless told.")]
GuardrailTexts = Annotated[
    list[str] | None,
    typer.Option(help="METRIC or METRIC:TOLERANCE that no version may harm; repeatable. Unless told: all others."),
]
RampTexts = Annotated[
    list[str] | None,
    typer.Option(help="HOURS:SHARE, from when on which share of the units takes part; repeatable."),
]


@app.command()
def plan(
    name: Name,
    *,
    metric: MetricName = "accepted",
    effect: Annotated[
        float,
        typer.Option(help="Difference to find: points of a share; for rating, cost and latency a part of the mean."),
    ] = 0.05,
    days: Annotated[float, typer.Option(help="How long it may take.")] = 14,
    arms: Annotated[int, typer.Option(help="Versions compared, the control included.", min=2, max=4)] = 2,
    share: Annotated[float, typer.Option(help="Share of the units that takes part.")] = 1.0,
    units_per_day: Annotated[float, typer.Option(help="Subjects or sessions a day; 0: as in the last four weeks.")] = 0,
    mean: Annotated[float, typer.Option(help="Of the metric now; 0: as in the last four weeks.")] = 0,
    as_json: Json = False,
) -> None:
    """How long an experiment takes, and what it can find, from what the last four weeks were like."""
    from flows.cli import console, experiment_plan
    from flows.cli import experiment_options as options

    asked = experiment_plan.Wish(
        metric=options.metric(metric),
        effect=effect,
        days=days,
        arms=arms,
        share=share,
        units_per_day=units_per_day or None,
        mean=mean or None,
    )
    made = experiment_plan.plan_for(name, asked)
    if as_json:
        console.print_json(made)
    else:
        typer.echo(experiment_plan.plan_sentence(made))


@app.command()
def start(
    name: Name,
    versions: Versions,
    *,
    weights: Weights = "",
    metric: MetricName = "accepted",
    guardrail: GuardrailTexts = None,
    ramp: RampTexts = None,
    exclude: Annotated[list[str] | None, typer.Option(help="A tenant that takes no part; repeatable.")] = None,
    planned: Annotated[int, typer.Option(help="Units of the smallest arm at the planned look; see `plan`.")] = 1_000,
    days: Annotated[float, typer.Option(help="After this it ends without a winner.")] = 28,
    alpha: Annotated[
        float, typer.Option(help="Share of experiments that may name a winner where there is none.")
    ] = 0.05,
    as_json: Json = False,
) -> None:
    """Give versions their shares of the subjects and sessions; each needs the evidence that production needs."""
    import asyncio

    from flows.cli import console, experiment_actions
    from flows.cli import experiment_options as options
    from registry.prompts.promotion import PromotionRefused

    wanted = experiment_actions.Wanted(
        versions=tuple(versions),
        weights=options.weights(weights, len(versions) + 1),
        metric=options.metric(metric),
        guardrails=options.guardrails(guardrail, options.metric(metric)),
        ramp=options.ramp(ramp),
        excluded=tuple(exclude or ()),
        planned=planned,
        days=days,
        alpha=alpha,
    )
    try:
        experiment = asyncio.run(experiment_actions.start(name, wanted))
    except PromotionRefused as refused:
        if as_json:
            console.print_json({"started": False, "missing": refused.details["missing"]})
        console.fail(refused.message)
        raise typer.Exit(1) from None
    if as_json:
        console.print_json(experiment_actions.started_document(experiment))
    else:
        arms = ", ".join(f"{arm.name} = {name}/{arm.version}" for arm in experiment.design.arms)
        typer.echo(f"experiment {experiment.id} runs: {arms}; see `assay experiments status {name}`")


@app.command()
def status(
    name: Annotated[
        str,
        typer.Argument(
            help="A prompt or the id of an experiment; all unless told.", callback=unicode_text, show_default=False
        ),
    ] = "",
    as_json: Json = False,
) -> None:
    """What experiments show by now; looking often does no harm."""
    import asyncio

    from flows.cli import console, experiment_actions
    from flows.experiment_report import document, unreadable_document

    looks, unreadable = asyncio.run(experiment_actions.looks(name))
    if as_json:
        console.print_json([*map(document, looks), *map(unreadable_document, unreadable)])
    else:
        experiment_actions.print_looks(looks, unreadable)


@app.command()
def stop(
    experiment: Annotated[
        str, typer.Argument(metavar="ID", help="Of the experiment.", callback=unicode_text, show_default=False)
    ],
    reason: Annotated[str, typer.Option(callback=why, help="Why; it stands in the decision record.")],
    as_json: Json = False,
) -> None:
    """End an experiment: everybody has the production version again, and no alias moves."""
    from flows.cli import console, experiment_actions

    ended = experiment_actions.stop(experiment, reason)
    if as_json:
        console.print_json(ended)
    else:
        typer.echo(f"experiment {experiment} has ended; everyone has the production version")
