"""The results of a flow as one MLflow run: parameters, metrics, tables, files and a link to the prompt version.

Everything small goes in one call and no trace is written: traces are queued, and flushing them can block without end.

* RunsUnavailable (Unavailable) - MLflow does not take the run; log it again later
"""

# pyright: basic
# mlflow's annotations are partial, and strict mode would report its modules rather than ours.

import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from registry.errors import JsonValue, Unavailable

HEALTH_TIMEOUT_S = 3.0
EXPERIMENT = "assay-evaluations"
METRICS_MAX = 1_000
"""MLflow's own limit of one batch; parameters and tags have 100."""
PARAMETERS_MAX = 100
VALUE_CHARS_MAX = 5_000
DIGEST_CHARS_MAX = 36
LINKED_PROMPTS_TAG = "mlflow.linkedPrompts"
EXPERIMENTS_OF_PROMPT_TAG = "_mlflow_experiment_ids"
"""Where MLflow keeps in which experiments a prompt appears (its page «Prompts» beside the runs)."""
TABLES_TAG = "mlflow.loggedArtifacts"

Row = Mapping[str, JsonValue]


class RunsUnavailable(Unavailable):
    """MLflow does not take the run."""

    code = "mlflow-unavailable"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """What a run shall hold."""

    name: str
    prompt: tuple[str, int]
    """Name and version of the prompt that the run is about."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Names may hold `@`; MLflow gets `_at_` instead, as its names allow no `@`."""
    tags: Mapping[str, str] = field(default_factory=dict)
    dataset: tuple[str, str] | None = None
    """Name and content hash of the ground truth."""
    tables: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    """Artifact name ending in .json -> rows; MLflow's UI shows it as a table."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """Artifact name -> content, e.g. a plot."""
    description: str = ""
    """Markdown on the run's page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedRun:
    """A run as MLflow knows it."""

    id: str
    url: str
    """Its page."""


class Runs:
    """Writes runs into one experiment of an MLflow server.

    Args:
        mlflow_url: base URL of the server; user and password may stand in it and are never shown.
        experiment: name of the experiment; made when missing.
        clock: seconds since the epoch.
    """

    def __init__(
        self, mlflow_url: str, experiment: str = EXPERIMENT, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._url = mlflow_url.rstrip("/")
        self._shown_url = str(httpx.URL(self._url).copy_with(userinfo=b""))
        self._experiment = experiment
        self._clock = clock

    def log(self, report: RunReport) -> LoggedRun:
        """Write the whole run; when it returns, MLflow has everything.

        Raises:
            RunsUnavailable: MLflow is down or refuses; a run that was begun is marked as failed where possible.
        """
        self._require_server()
        # Here, because it takes seconds and only flows need it.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # seven by default: minutes on a dead server
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # standard output is for results
        from mlflow import MlflowClient  # noqa: PLC0415
        from mlflow.exceptions import MlflowException  # noqa: PLC0415

        client = MlflowClient(tracking_uri=self._url, registry_uri=self._url)
        try:
            experiment = self._experiment_id(client)
            run = client.create_run(experiment, start_time=self._now_ms(), run_name=report.name)
            run_id = run.info.run_id
            try:
                self._fill(client, run_id, report)
                self._show_prompt_beside(client, report.prompt[0], experiment)
            except BaseException:  # the run is ended, and the error raised on
                client.set_terminated(run_id, "FAILED", end_time=self._now_ms())
                raise
            client.set_terminated(run_id, "FINISHED", end_time=self._now_ms())
        except (MlflowException, OSError) as error:
            raise RunsUnavailable(f"MLflow did not take the run {report.name!r}: {error}") from error
        return LoggedRun(id=run_id, url=f"{self._shown_url}/#/experiments/{experiment}/runs/{run_id}")

    def _require_server(self) -> None:
        """Ask first: mlflow's own client would try a dead server for minutes."""
        try:
            healthy = httpx.get(f"{self._url}/health", timeout=HEALTH_TIMEOUT_S, trust_env=False).is_success
        except httpx.HTTPError as error:
            raise RunsUnavailable(f"MLflow at {self._shown_url} does not answer ({type(error).__name__})") from error
        if not healthy:
            raise RunsUnavailable(f"MLflow at {self._shown_url} says that it is not well")

    def _experiment_id(self, client) -> str:  # noqa: ANN001 - a MlflowClient, imported late
        from mlflow.exceptions import MlflowException  # noqa: PLC0415

        found = client.get_experiment_by_name(self._experiment)
        if found is None:
            try:
                return client.create_experiment(self._experiment)
            except MlflowException:  # another process made it a moment ago
                found = client.get_experiment_by_name(self._experiment)
                if found is None:
                    raise
        return found.experiment_id

    def _fill(self, client, run_id: str, report: RunReport) -> None:  # noqa: ANN001 - as above
        from mlflow.entities import Dataset, DatasetInput, Metric, Param, RunTag  # noqa: PLC0415

        now = self._now_ms()
        metrics = [
            Metric(name.replace("@", "_at_"), value, now, 0)
            for name, value in list(report.metrics.items())[:METRICS_MAX]
        ]
        parameters = [
            Param(name, value[:VALUE_CHARS_MAX]) for name, value in list(report.parameters.items())[:PARAMETERS_MAX]
        ]
        tags = {
            **report.tags,
            LINKED_PROMPTS_TAG: linked_prompt(*report.prompt),
            TABLES_TAG: json.dumps([{"path": path, "type": "table"} for path in report.tables]),
            "mlflow.note.content": report.description,
        }
        tagged = [RunTag(name, value[:VALUE_CHARS_MAX]) for name, value in tags.items() if value]
        client.log_batch(run_id, metrics=metrics, params=parameters, tags=tagged)
        if report.dataset is not None:
            name, sha256 = report.dataset
            source = json.dumps({"name": name, "sha256": sha256})
            known = Dataset(name=name, digest=sha256[:DIGEST_CHARS_MAX], source_type="assay", source=source)
            client.log_inputs(run_id, [DatasetInput(known)])
        with tempfile.TemporaryDirectory() as folder:
            for name, content in {**_tables(report.tables), **report.files}.items():
                path = Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            client.log_artifacts(run_id, folder)

    def _show_prompt_beside(self, client, prompt: str, experiment: str) -> None:  # noqa: ANN001 - as above
        """List the prompt on the experiment's page, as loading it inside a run would do."""
        known = client.get_prompt(prompt)
        if known is None:
            return
        listed = [key for key in known.tags.get(EXPERIMENTS_OF_PROMPT_TAG, "").split(",") if key]
        if experiment not in listed:
            client.set_prompt_tag(prompt, EXPERIMENTS_OF_PROMPT_TAG, f",{','.join([*listed, experiment])},")

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)


def linked_prompt(name: str, version: int) -> str:
    """The value of the tag by which MLflow links a run with a prompt version; a test compares it with MLflow's own."""
    return json.dumps([{"name": name, "version": str(version)}])


def _tables(tables: Mapping[str, Sequence[Row]]) -> dict[str, bytes]:
    """Rows in the form of `mlflow.log_table`: columns once, then one list a row."""
    made: dict[str, bytes] = {}
    for path, rows in tables.items():
        columns = list(dict.fromkeys(column for row in rows for column in row))
        table = {"columns": columns, "data": [[row.get(column) for column in columns] for row in rows]}
        made[path] = json.dumps(table, ensure_ascii=False).encode()
    return made
