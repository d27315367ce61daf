"""`assay evaluate` and `assay datasets`: results on standard output, verdicts as exit codes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from flows.cli import datasets, evaluate
from flows.wiring import measured_alone
from registry.errors import InvalidInput
from serving.settings import ServingSettings


def run(app: Any, *arguments: object) -> Result:
    """Run a command; expected errors come through, as they do to the rim."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_retrieval_prints_what_trec_eval_would(tmp_path: Path) -> None:
    """The JSON document holds means and values by query."""
    (tmp_path / "q").write_text("1 0 a 1\n2 0 a 1\n")
    (tmp_path / "r").write_text("1 Q0 b 1 0.5 t\n1 Q0 a 2 0.5 t\n")
    arguments = ("retrieval", "--run", tmp_path / "r", "--qrels", tmp_path / "q", "--metrics", "mrr, hit@1", "--json")
    assert json.loads(run(evaluate.app, *arguments).stdout) == {
        "mean": {"mrr": 0.25, "hit@1": 0.0},
        "per_query": {"1": {"mrr": 0.5, "hit@1": 0.0}, "2": {"mrr": 0.0, "hit@1": 0.0}},
    }


def test_retrieval_starts_without_the_heavy_vendors(tmp_path: Path) -> None:
    """Scoring a file needs neither MLflow nor Prefect, so it does not wait for them."""
    (tmp_path / "q").write_text("1 0 a 1\n")
    (tmp_path / "r").write_text("1 Q0 a 1 0.5 t\n")
    script = (
        "import sys; from flows.cli.main import app\n"
        f"app(['evaluate','retrieval','--run',{str(tmp_path / 'r')!r},'--qrels',{str(tmp_path / 'q')!r}],"
        "standalone_mode=False)\n"
        "print([m for m in ('mlflow','prefect','matplotlib','sqlalchemy') if m in sys.modules])"
    )
    done = subprocess.run((sys.executable, "-c", script), capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(("lost", "verdict", "code"), [(0, "PASS", 0), (60, "FAIL", 1)])
def test_the_gate_ends_with_its_verdict(tmp_path: Path, lost: int, verdict: str, code: int) -> None:
    """PASS ends with 0 and anything else with 1; the document says why."""
    for name, wrong in (("a", 0), ("b", lost)):
        rows = [{"id": n, "score": int(n >= wrong)} for n in range(300)]
        (tmp_path / name).write_text("\n".join(map(json.dumps, rows)))
    arguments = ("gate", "--baseline", tmp_path / "a", "--candidate", tmp_path / "b", "--margin", "0.05")
    result = run(evaluate.app, *arguments, "--json")
    told = json.loads(result.stdout)
    assert (told["verdict"], told["difference"], told["n"], result.exit_code) == (verdict, -lost / 300, 300, code)
    assert f"Verdict: {verdict}" in run(evaluate.app, *arguments).stdout


def test_a_dataset_goes_in_and_shows(tmp_path: Path) -> None:
    """Import names the version, list has it once, show counts its rows."""
    rows = [{"id": f"q{n}", "question": "?", "split": "test", "unanswerable": n == 0} for n in range(3)]
    (tmp_path / "Mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    imported = json.loads(run(datasets.app, "import", tmp_path / "Mine.jsonl", "--json").stdout)
    assert (imported["name"], imported["rows"]) == ("mine", 3)
    [listed] = json.loads(run(datasets.app, "list", "--json").stdout)
    assert listed["sha256"] == imported["sha256"]
    shown = [json.loads(line) for line in run(datasets.app, "show", "mine", "--json").stdout.splitlines()]
    assert [row["id"] for row in shown] == ["q0", "q1", "q2"]
    assert "in the documents" in run(datasets.app, "show", "mine").stdout


def test_without_a_file_the_sample_comes_in() -> None:
    """The packaged sample is a sound dataset."""
    assert json.loads(run(datasets.app, "import", "--json").stdout)["name"] == "sample"


def test_a_broken_dataset_is_named(tmp_path: Path) -> None:
    """The error carries file and line."""
    (tmp_path / "d.jsonl").write_text("{}\n")
    with pytest.raises(InvalidInput, match=r"d\.jsonl: line 1"):
        run(datasets.app, "import", tmp_path / "d.jsonl")


@pytest.mark.parametrize(
    ("provider", "sentence"),
    [
        ("banana", "--provider takes one of: extractive, scripted, anthropic, openai, local"),
        ("openai", "set OPENAI_API_KEY"),
        ("extractive,local", "no provider 'extractive,local'"),
    ],
)
def test_a_provider_that_cannot_be_measured_is_refused_before_prefect_is_asked(
    provider: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unknown name gets the known ones, a known one what it lacks; a list is no provider."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    run(datasets.app, "import")
    with pytest.raises(InvalidInput, match=sentence):
        run(evaluate.app, "run", "--prompt", "insights/1", "--provider", provider)


@pytest.mark.parametrize(("provider", "asked"), [(None, "extractive"), ("openai", "openai"), ("local", "local")])
def test_one_provider_is_measured_alone(provider: str | None, asked: str) -> None:
    """The first of the chain unless told, whoever else stands in it, so that no fallback answers."""
    settings = ServingSettings(chain="extractive,openai")
    assert measured_alone(settings, provider).providers == (asked,)


def test_a_wrong_reference_is_found_before_prefect_is_asked() -> None:
    """A misspelt prompt fails at once, without a server."""
    with pytest.raises(InvalidInput, match="no prompt name"):
        run(evaluate.app, "run", "--prompt", "In Sights", "--dataset", "sample")
