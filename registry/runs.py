"""The results of a flow as one MLflow run: parameters, metrics, tables, files and a link to the prompt version.

Everything small goes in one call and no trace is written: traces are queued, and flushing them can block without end.

* RunsUnavailable (Unavailable) - MLflow does not take the run; log it again later
"""

# pyright: basic
# mlflow's annotations are partial, and strict mode would report its modules rather than ours.

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from registry.errors import JsonValue, Unavailable

HEALTH_TIMEOUT_S = 3.0
EXPERIMENT = "assay-evaluations"
METRICS_MAX = 800
"""Metrics in one batch: MLflow takes 1,000 things at once, and 100 parameters and as many tags among them."""
PARAMETERS_MAX = 100
VALUE_CHARS_MAX = 5_000
DIGEST_CHARS_MAX = 36
LINKED_PROMPTS_TAG = "mlflow.linkedPrompts"
EXPERIMENTS_OF_PROMPT_TAG = "_mlflow_experiment_ids"
"""Where MLflow keeps in which experiments a prompt appears (its page «Prompts» beside the runs)."""
TABLES_TAG = "mlflow.loggedArtifacts"
SERIES_TAG = "assay.series"
"""What a lasting run follows; one run of an experiment for each."""
STEPS_TAG = "assay.steps"
"""Of a lasting run: JSON, step → digest of the metrics that were written for it last."""
STEPS_MAX = 150
"""Newest steps that are kept in mind: a tag has room for no more."""
DIGEST_HEX = 16

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
        with self._client(report.name) as client:
            experiment = self._experiment_id(client)
            run = client.create_run(experiment, start_time=self._now_ms(), run_name=report.name)
            return self._write(client, run.info, report, self._metrics(report.metrics, 0))

    def log_steps(self, series: str, report: RunReport, steps: Mapping[int, Mapping[str, float]]) -> LoggedRun:
        """Go on with the one run that follows something over time, or begin it.

        A step whose metrics are as they were is not written again; of one that changed MLflow keeps both, and the
        newer one counts. When nothing changed, nothing is written.

        Args:
            series: what the run follows, without quotes, e.g. `insights/3`.
            report: as for `log`; parameters never change, tables and files replace those of before.
            steps: step → metrics; the newest STEPS_MAX are taken.

        Raises:
            RunsUnavailable: MLflow is down or refuses; the next time writes it all again.
        """
        with self._client(report.name) as client:
            experiment = self._experiment_id(client)
            found = client.search_runs([experiment], f"tags.`{SERIES_TAG}` = '{series}'", max_results=1)
            tags = {SERIES_TAG: series}
            now = self._now_ms()
            run = found[0] if found else client.create_run(experiment, now, tags, run_name=report.name)
            digests = {str(step): _digest(steps[step]) for step in sorted(steps)[-STEPS_MAX:]}
            written = json.loads(run.data.tags.get(STEPS_TAG, "{}"))
            changed = [int(step) for step, digest in digests.items() if written.get(step) != digest]
            if not changed:
                return self._logged(run.info)
            metrics = [metric for step in changed for metric in self._metrics(steps[step], step)]
            logged = self._write(client, run.info, report, metrics)
            client.set_tag(logged.id, STEPS_TAG, json.dumps(digests, separators=(",", ":")))  # when all is there
            return logged

    @contextmanager
    def _client(self, what: str):  # noqa: ANN202 - a MlflowClient, imported late
        """MLflow's client for one run, with its errors as ours."""
        self._require_server()
        # Here, because it takes seconds and only flows need it.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # seven by default: minutes on a dead server
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # standard output is for results
        from mlflow import MlflowClient  # noqa: PLC0415
        from mlflow.exceptions import MlflowException  # noqa: PLC0415

        try:
            yield MlflowClient(tracking_uri=self._url, registry_uri=self._url)
        except (MlflowException, OSError) as error:
            raise RunsUnavailable(f"MLflow did not take the run {what!r}: {error}") from error

    def _write(self, client, info, report: RunReport, metrics) -> LoggedRun:  # noqa: ANN001 - mlflow's, imported late
        try:
            self._fill(client, info.run_id, report, metrics)
            self._show_prompt_beside(client, report.prompt[0], info.experiment_id)
        except BaseException:  # the run is ended, and the error raised on
            client.set_terminated(info.run_id, "FAILED", end_time=self._now_ms())
            raise
        client.set_terminated(info.run_id, "FINISHED", end_time=self._now_ms())
        return self._logged(info)

    def _logged(self, info) -> LoggedRun:  # noqa: ANN001 - as above
        return LoggedRun(id=info.run_id, url=f"{self._shown_url}/#/experiments/{info.experiment_id}/runs/{info.run_id}")

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

    def _metrics(self, values: Mapping[str, float], step: int):  # noqa: ANN202 - a list of Metric, imported late
        from mlflow.entities import Metric  # noqa: PLC0415

        now = self._now_ms()
        return [Metric(name.replace("@", "_at_"), value, now, step) for name, value in values.items()]

    def _fill(self, client, run_id: str, report: RunReport, metrics) -> None:  # noqa: ANN001 - as above
        from mlflow.entities import Dataset, DatasetInput, Param, RunTag  # noqa: PLC0415

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
        for start in range(METRICS_MAX, len(metrics), METRICS_MAX):
            client.log_batch(run_id, metrics=metrics[start : start + METRICS_MAX])
        client.log_batch(run_id, metrics=metrics[:METRICS_MAX], params=parameters, tags=tagged)
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


def _digest(metrics: Mapping[str, float]) -> str:
    return hashlib.sha256(json.dumps(metrics, sort_keys=True).encode()).hexdigest()[:DIGEST_HEX]


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
