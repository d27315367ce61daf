"""`assay prompts`: write, check, compare and promote prompt versions."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import VERSION_MAX, unicode_text, why
from flows.cli.prompt_performance import performance

app = typer.Typer(name="prompts", help="Write, check, compare and promote prompt versions.", no_args_is_help=True)
app.command()(performance)

File = Annotated[Path, typer.Argument(help="A prompt as YAML.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
Name = Annotated[str, typer.Argument(help="The prompt.", show_default=False)]
Version = Annotated[int, typer.Argument(help="Its version.", min=1, max=VERSION_MAX, show_default=False)]
Reason = Annotated[str, typer.Option("--reason", "-m", callback=why, help="Why; kept with it, and in the audit log.")]
REFERENCE = "NAME, NAME@ALIAS or NAME/VERSION."


@app.command()
def push(
    file: File,
    message: Annotated[
        str, typer.Option("--message", "-m", callback=unicode_text, help="Why; shown in MLflow beside the version.")
    ] = "",
    quietly: Annotated[bool, typer.Option("--no-candidate", help="Leave alias `candidate`: no evaluation.")] = False,
    as_json: Json = False,
) -> None:
    """Store a prompt as a new version in MLflow and point alias `candidate` at it, which starts its evaluation.

    A prompt that is the newest version already makes no new one. One with lint errors is not stored; exit 1.
    """
    import asyncio

    from flows.cli import console, prompt_actions, prompt_output
    from registry.prompts.lint import lint
    from registry.prompts.schema import load_template

    template = load_template(file)
    findings = lint(template)
    if any(finding.severity == "error" for finding in findings):
        if as_json:
            rows = prompt_output.finding_rows(findings)
            console.print_json({"name": template.name, "version": None, "created": False, "findings": rows})
        else:
            prompt_output.print_findings(findings)
        console.fail(f"{template.name!r} is not stored: mend the lint errors, then push again")
        raise typer.Exit(1)
    pushed = asyncio.run(prompt_actions.push(template, message, candidate=not quietly))
    if as_json:
        console.print_json(prompt_output.pushed_document(pushed))
        return
    made = "is new" if pushed.created else "was there already, unchanged"
    waits = "" if quietly else "; alias candidate points at it, and its page in MLflow will show the verdict"
    typer.echo(f"{template.name}/{pushed.version.version} {made}{waits}")
    prompt_output.print_findings(findings)


@app.command()
def lint(file: File, as_json: Json = False) -> None:
    """Check a prompt file and estimate its tokens a message; an error ends with 1, warnings do not."""
    from flows.cli import console, prompt_output
    from registry.prompts.lint import lint as find
    from registry.prompts.schema import load_template

    template = load_template(file)
    findings = find(template)
    sound = all(finding.severity != "error" for finding in findings)
    if as_json:
        document = {"name": template.name, "ok": sound, "findings": prompt_output.finding_rows(findings)}
        console.print_json({**document, "sections": prompt_output.section_rows(template)})
    else:
        prompt_output.print_sections(template)
        prompt_output.print_findings(findings)
        typer.echo(f"{template.name}: {'sound' if sound else 'may not be promoted'}")
    if not sound:
        raise typer.Exit(1)


@app.command("list")
def list_prompts(as_json: Json = False) -> None:
    """All prompts with their newest version and aliases; where an alias is not followed, with what serves instead."""
    import asyncio

    from flows.cli import console, prompt_output, prompt_queries

    found = asyncio.run(prompt_queries.list_prompts())
    if as_json:
        console.print_json([prompt_output.summary_document(*each) for each in found])
    else:
        columns = ("name", "newest", "aliases", "changed", "description")
        console.print_table("Prompts", columns, (prompt_output.summary_row(*each) for each in found))


@app.command()
def show(reference: Annotated[str, typer.Argument(help=REFERENCE, show_default=False)], as_json: Json = False) -> None:
    """One version: wording, findings, where its prompt serves, evidence with people's words, promotion records.

    `assay prompts show NAME > FILE` makes a prompt file, with all but the prompt as comments.
    """
    import asyncio

    from flows.cli import console, prompt_output, prompt_queries
    from registry.prompts.versions import parse_reference

    version, known = asyncio.run(prompt_queries.show(parse_reference(reference)))
    if as_json:
        console.print_json(prompt_output.version_document(version, known))
    else:
        prompt_output.print_version(version, known)


@app.command()
def diff(
    before: Annotated[str, typer.Argument(metavar="A", help=REFERENCE, show_default=False)],
    after: Annotated[str, typer.Argument(metavar="B", help=REFERENCE, show_default=False)],
    as_json: Json = False,
) -> None:
    """What changed from version A to version B."""
    import asyncio

    from flows.cli import console, prompt_output, prompt_queries
    from registry.prompts.versions import parse_reference

    references = (parse_reference(before), parse_reference(after))
    old, new = asyncio.run(prompt_queries.find_both(*references))
    lines = prompt_output.diff_lines(old, new)
    if as_json:
        console.print_json({"a": prompt_output.label(old), "b": prompt_output.label(new), "diff": lines})
    else:
        prompt_output.print_diff(lines)


@app.command()
def promote(name: Name, version: Version, as_json: Json = False) -> None:
    """Move the serving alias to a version whose evidence satisfies the use case's policy; else end with 1."""
    import asyncio

    from flows.cli import console, prompt_actions, prompt_output
    from registry.prompts.promotion import PromotionRefused

    try:
        promoted = asyncio.run(prompt_actions.promote(name, version))
    except PromotionRefused as refused:
        prompt_output.print_refusal(name, version, refused, as_json=as_json)
        raise typer.Exit(1) from None
    if as_json:
        console.print_json(prompt_output.promotion_document(promoted))
    else:
        prompt_output.print_promotion(promoted)


@app.command()
def rollback(name: Name, as_json: Json = False) -> None:
    """Move the serving alias back to the version that was let through before; its record is enough.

    Twice leads back to where it began. Revoke a version that must not return.
    """
    import asyncio

    from flows.cli import console, prompt_actions, prompt_output

    promoted = asyncio.run(prompt_actions.rollback(name))
    if as_json:
        console.print_json(prompt_output.promotion_document(promoted))
    else:
        prompt_output.print_promotion(promoted)


@app.command()
def approve(
    name: Name,
    version: Version,
    reason: Reason,
    reject: Annotated[bool, typer.Option("--reject", help="Say no: nothing outweighs it while it stands.")] = False,
    as_json: Json = False,
) -> None:
    """Approve a version, or reject it, with your own key in ASSAY_KEY: role `engineer`, without a tenant."""
    from flows.cli import console, prompt_actions

    given = prompt_actions.approve(name, version, agrees=not reject, reason=reason)
    if as_json:
        console.print_json(given)
    else:
        typer.echo(f"{given['by']} {'rejects' if reject else 'approves'} {name}/{version}")


@app.command()
def waive(
    name: Name,
    version: Version,
    reason: Reason,
    hours: Annotated[float, typer.Option(help="How long your signature holds; the policy sets the most.")],
    as_json: Json = False,
) -> None:
    """Sign for a version without its evidence, with your own key as for approve; two people have to, then promote it.

    With the second signature's end serving returns to the version before by itself.
    """
    from flows.cli import console, prompt_actions

    given = prompt_actions.waive(name, version, hours, reason)
    if as_json:
        console.print_json(given)
    else:
        typer.echo(f"{given['by']} signs for {name}/{version}, for {hours:g} hours")


@app.command()
def revoke(name: Name, version: Version, reason: Reason, as_json: Json = False) -> None:
    """End all that lets a version's content serve; serving returns to what was let through before it."""
    from flows.cli import console, prompt_actions, prompt_output

    ended = prompt_actions.revoke(name, version, reason)
    if as_json:
        console.print_json([prompt_output.record_document(record) for record in ended])
    else:
        places = ", ".join(sorted({record.alias for record in ended}))
        typer.echo(f"{name}/{version} may serve no longer as {places}; {len(ended)} records ended")
