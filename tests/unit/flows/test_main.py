"""The command's rim: what it imports, and how errors end."""

import subprocess
import sys

import pytest

from flows.cli import main as rim
from registry.errors import InvalidInput, NotFound, Refused, Unavailable

HEAVY = ("mlflow", "prefect", "qdrant_client", "sqlalchemy", "onnxruntime", "numpy", "pydantic", "openai", "fastapi")


def test_help_imports_nothing_heavy() -> None:
    """`assay --help` answers at once: every command imports what it needs when it runs."""
    code = f"import sys, flows.cli.main; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("error", "code"), [(InvalidInput("x"), 2), (Unavailable("x"), 3), (NotFound("x"), 2), (Refused("x"), 1)]
)
def test_exit_codes(error: Exception, code: int) -> None:
    """2: wrong input, or not there; 3: a dependency is down; 1: refused."""
    assert rim.exit_code(error) == code


@pytest.mark.parametrize("command", [["status"], ["ask", "x", "--tenant", "t"], ["serve"]])
def test_a_wrong_setting_is_one_sentence_without_its_value(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mistyped variable is named, its value is not repeated, and no traceback is shown."""
    monkeypatch.setenv("ASSAY_API_PORT", "s3cret")
    monkeypatch.setattr(sys, "argv", ["assay", *command])
    with pytest.raises(SystemExit) as ended:
        rim.main()
    shown = "".join(capsys.readouterr())
    assert ended.value.code == 2
    assert "ASSAY_API_PORT" in shown
    assert "s3cret" not in shown
    assert "Traceback" not in shown


def test_serve_refuses_what_only_the_flows_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """An objective that no provider can have is told when the API starts, not five minutes later in a flow."""
    monkeypatch.setenv("ASSAY_PROVIDER_SLO", "2")
    monkeypatch.setattr(sys, "argv", ["assay", "serve"])
    with pytest.raises(SystemExit) as ended:
        rim.main()
    assert ended.value.code == 2


def test_a_bug_is_not_dressed_up_as_a_setting() -> None:
    """Any other ValueError keeps its traceback."""
    assert rim.settings_problem(ValueError("a bug")) is None
