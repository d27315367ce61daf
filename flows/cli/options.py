"""What options of several commands have in common."""

import typer

VERSION_MAX = 999_999_999
"""Highest version number that is looked up; see VERSION_DIGITS_MAX in registry/prompts/versions.py."""
REASON_CHARS_MAX = 1_000


def unicode_text(value: str) -> str:
    """Words that can be stored: a terminal passes on bytes that are no Unicode, too.

    Raises:
        typer.BadParameter: says so.
    """
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise typer.BadParameter("this is not valid Unicode text") from error
    return value


def why(value: str) -> str:
    """The reason that somebody gives.

    Raises:
        typer.BadParameter: empty, too long, or no Unicode.
    """
    if not 0 < len(value.strip()) <= REASON_CHARS_MAX:
        raise typer.BadParameter(f"say why, in 1 to {REASON_CHARS_MAX} characters")
    return unicode_text(value)
