"""What `assay up` does beside starting processes: migrate, the first key, deployments, and the sample tenant.

Every step may be repeated: what is already there stays.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any

from flows.api_client import ApiClient
from flows.cli.insight_page import print_insight
from flows.cli.preflight import api_settings
from flows.cli.prompt_queries import without_ruling
from flows.settings import FlowSettings
from infra.local import processes
from infra.local.errors import PlatformError
from infra.local.home import write_secret
from infra.local.parts import SOURCE_ROOT, base_environment
from infra.local.processes import last_words, log_path
from infra.local.settings import LocalSettings
from infra.local.supervisor import Step
from registry.database import migrate, open_database
from registry.errors import NotFound
from registry.insights import Insight
from registry.prompts.mlflow_rest import MlflowRest
from registry.prompts.promotion_records import was_promoted
from registry.prompts.versions import PromptNotFound, PromptReference, PromptSource, parse_reference
from registry.prompts.webhooks import ensure_webhook
from registry.tenants import Keys, Tenants, Unauthenticated

SAMPLE_TENANT = "meridian"
OTHER_TENANTS = ("fennick", "osier")
"""The rest of the sample data: a second company, and a tiny one for looking at isolation."""
SAMPLE_DATASET = "sample"
SAMPLE = SOURCE_ROOT / "evaluation" / "data" / "sample"
PROMPT = "insights"
SAMPLE_QUESTION = "What was revenue in March 2026?"
QUESTION_DEADLINE_S = 110.0
"""The local language model took 20 to 55 s on a busy machine."""
PROMOTED_WITHIN_S = 10.0
"""A promotion reaches the workers within 5 s."""
REASONS_SHOWN = 3
COMMAND_TIMEOUT_S = 1_200.0
"""An evaluation of the sample set took 33 s on a busy machine; a slow one may take many times that."""


class FirstPass:
    """The steps around one `assay up`.

    Args:
        settings: home and ports.
        sample: also the sample tenant, its evaluation, the promotion and a first question.
    """

    def __init__(self, settings: LocalSettings, *, sample: bool) -> None:
        self._local = settings
        self._settings = FlowSettings.model_validate({**FlowSettings().model_dump(), "home": settings.root})
        self._sample = sample
        self.question = SAMPLE_QUESTION
        self.insight: Insight | None = None
        """The answer of the last step, as the API gave it."""

    def steps(self) -> list[Step]:
        """What to do, each after the parts and steps it needs."""
        always = [
            self._step("migrate", self._migrate),
            self._step("admin-key", self._admin_key, "migrate"),
            self._step("deployments", self._deployments, "worker"),
            self._step("webhook", self._webhook, "mlflow", "admin-key"),
            self._step("prompt", self._push_prompt, "mlflow", "migrate"),
        ]
        if not self._sample:
            return always
        return [
            *always,
            # The platform is up without them: a tour that fails says why and takes nothing down.
            self._tour("documents", partial(self._ingest, SAMPLE_TENANT), "engine", "migrate"),
            self._tour("other-documents", self._ingest_others, "documents"),
            self._tour("dataset", self._import_dataset),
            self._tour("evaluation", self._evaluate, "other-documents", "dataset", "prompt", "prefect"),
            # Also after an evaluation that failed: a refusal says what is missing. The API tells who answers.
            self._tour("promotion", self._promote, "prompt", "api", after=("evaluation",)),
            self._tour("question", self._ask, "promotion", "webhook", "admin-key"),
        ]

    def print_insight(self) -> None:
        """Show the answer of the last step to people, if there is one."""
        if self.insight is not None:
            print_insight(self.question, self.insight)

    def _step(self, name: str, run: Callable[[], None], *needs: str) -> Step:
        return Step(name=name, title=name, run=run, needs=needs)

    def _tour(self, name: str, run: Callable[[], None], *needs: str, after: tuple[str, ...] = ()) -> Step:
        return Step(name=name, title=name, run=run, needs=needs, after=after, may_fail=True)

    def _migrate(self) -> None:
        migrate(self._settings.database_url)

    def _admin_key(self) -> None:
        """Keep the key in home while it still opens the door; else write a new one."""
        with closing(open_database(self._settings.database_url)) as database:
            keys = Keys(database)
            file = self._settings.admin_key_file
            try:
                keys.authenticate(file.read_text().strip())
            except (FileNotFoundError, Unauthenticated):
                file.unlink(missing_ok=True)
                write_secret(file, lambda: keys.create("admin", None, "assay up").key)

    def _deployments(self) -> None:
        """Also puts back the flow runs that lost their worker, where this platform runs both it and Prefect."""
        found = [processes.find(self._local.root, part) for part in ("worker", "prefect")]
        started = [str(running.started) for running in found if running is not None and running.alive()]
        self._python("-m", "flows.schedule", *(started if len(started) == len(found) else ()), log="deployments")

    def _webhook(self) -> None:
        url, secret = f"{self._local.api_url}/hooks/mlflow", self._settings.webhook_secret
        key = self._settings.admin_key_file.read_text().strip()  # the gate lets admins change webhooks
        asyncio.run(ensure_webhook(self._settings.mlflow_access, url, secret, key=key))

    def _push_prompt(self) -> None:
        if self._alias("production") is None:
            # No candidate: the step «evaluation» measures it, or nobody has a data set for it yet.
            file = str(SOURCE_ROOT / "prompts" / f"{PROMPT}.yaml")
            self._assay("prompts", "push", file, "--no-candidate", log="prompt")

    def _ingest(self, tenant: str) -> None:
        with closing(open_database(self._settings.database_url)) as database:
            tenants = Tenants(database)
            try:
                tenants.get(tenant)
            except NotFound:
                tenants.create(tenant, f"{tenant.title()} (sample)")
        self._assay("ingest", str(SAMPLE / tenant / "documents"), "--tenant", tenant, log="documents")

    def _ingest_others(self) -> None:
        for tenant in OTHER_TENANTS:
            self._ingest(tenant)

    def _import_dataset(self) -> None:
        file = str(SAMPLE / "ground_truth.jsonl")
        self._assay("datasets", "import", file, "--name", SAMPLE_DATASET, log="dataset")

    def _evaluate(self) -> None:
        """Measure each provider of the chain in turn; one that fails does not keep the next from it."""
        if not self._is_first():
            return
        version = self._version(PROMPT)
        waiting = asyncio.run(without_ruling(PromptReference(name=PROMPT, version=version), api_settings(self._local)))
        failed = [problem for model in waiting if (problem := self._problem_with(version, model.provider))]
        if failed:
            raise PlatformError("; ".join(failed))

    def _problem_with(self, version: int, provider: str) -> str | None:
        """Evaluate with one provider, and say why it does not pass; None when it does."""
        selection = ("--prompt", f"{PROMPT}/{version}", "--provider", provider)
        try:
            outcome = self._assay_json("evaluate", "run", *selection, "--dataset", SAMPLE_DATASET, log="evaluation")
        except PlatformError as error:
            return f"{provider}: {error}"
        reasons = "; ".join(outcome["reasons"][:REASONS_SHOWN])
        return None if outcome["verdict"] == "PASS" else f"{provider}: {outcome['verdict']}: {reasons}"

    def _promote(self) -> None:
        if self._is_first():
            outcome = self._assay_json("prompts", "promote", PROMPT, str(self._version(PROMPT)), log="promotion")
            if not outcome["promoted"]:
                raise PlatformError("; ".join(outcome["missing"]))

    def _ask(self) -> None:
        end = time.monotonic() + PROMOTED_WITHIN_S
        with ApiClient.from_settings(self._settings) as api:
            while self.insight is None:
                try:
                    self.insight = api.ask(self.question, tenant=SAMPLE_TENANT, deadline_s=QUESTION_DEADLINE_S)
                except NotFound:  # the workers look for a promotion once a second
                    if time.monotonic() > end:
                        raise
                    time.sleep(0.2)

    def _is_first(self) -> bool:
        """Nothing serves and nothing ever did: a version that somebody withdrew must not come back by itself."""
        with closing(open_database(self._settings.database_url)) as database:
            return self._alias("production") is None and not was_promoted(database, PROMPT)

    def _alias(self, alias: str) -> int | None:
        """The version an alias of the prompt points at; None before it is set."""
        try:
            return self._version(f"{PROMPT}@{alias}")
        except PromptNotFound:
            return None

    def _version(self, reference: str) -> int:
        async def look() -> int:
            rest = MlflowRest(self._settings.mlflow_access)
            try:
                return (await PromptSource(rest).find(parse_reference(reference))).version
            finally:
                await rest.aclose()

        return asyncio.run(look())

    def _assay(self, *arguments: str, log: str) -> None:
        """Run the same command that a person would type, its output in `logs/LOG.log`."""
        self._python("-m", "flows.cli.main", *arguments, log=log)

    def _assay_json(self, *arguments: str, log: str) -> dict[str, Any]:
        """The same with `--json`, and the document that it printed, also where that is a refusal (exit code 1)."""
        printed = self._python("-m", "flows.cli.main", *arguments, "--json", log=log, codes=(0, 1))
        path = log_path(self._settings.home, log)
        try:
            document: dict[str, Any] = json.loads(printed)
        except ValueError as error:
            raise PlatformError(f"step {log!r} failed{last_words(path)}; its log is {path}") from error
        if "error" in document:
            raise PlatformError(f"step {log!r} failed: {document['error']['message']}; its log is {path}")
        return document

    def _python(self, *arguments: str, log: str, codes: tuple[int, ...] = (0,)) -> str:
        """What the command printed; kept in the log, too."""
        path = log_path(self._settings.home, log)
        environment = {
            **base_environment(self._local),
            "MLFLOW_TRACKING_URI": self._settings.mlflow_access,
            "PREFECT_API_URL": self._settings.prefect_url,
        }
        with path.open("ab") as output:
            try:
                done = subprocess.run(  # noqa: S603 - our own command
                    (sys.executable, *arguments),
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=output,
                    timeout=COMMAND_TIMEOUT_S,
                    check=False,
                )
            except subprocess.SubprocessError as error:
                raise PlatformError(f"step {log!r} took too long{last_words(path)}; its log is {path}") from error
            failed = None if done.returncode in codes else last_words(path)  # errors are the last words on stderr
            output.write(done.stdout)
        if failed is not None:
            raise PlatformError(f"step {log!r} failed{failed}; its log is {path}")
        return done.stdout.decode(errors="replace")
