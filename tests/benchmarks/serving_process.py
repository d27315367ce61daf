"""A real serving process with a real vector engine and a promoted prompt; only MLflow is the tests' fake."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import psutil
from fakes.fake_mlflow import FakeMlflow
from fakes.fake_mlflow_server import fake_mlflow_url
from fakes.fake_serving import prove
from fixtures_engine import ENGINE_KEY, EngineProcess, free_port

from evaluation.data.make.__main__ import SAMPLE
from infra.local.processes import last_words
from registry.corpus.collection import Corpus
from registry.corpus.ingest import ingest
from registry.database import migrate, open_database
from registry.datasets import read_rows
from registry.embedding import load_embedder
from registry.prompts.mlflow_rest import MlflowRest
from registry.prompts.publishing import PromptPublisher
from registry.prompts.schema import load_template
from registry.tenants import Keys, Tenants
from serving.providers.extractive import Extractive

ROOT = Path(__file__).parents[2]
TENANT = "meridian"
WEBHOOK_SECRET = "of-no-use-elsewhere"
START_TIMEOUT_S, STOP_TIMEOUT_S = 120.0, 30.0
LOOK_EVERY_S = 0.1
MEGABYTE = 1_000_000
FOREIGN = ("ASSAY_", "MLFLOW_", "PREFECT_", "ANTHROPIC_", "OPENAI_", "QDRANT_")


class DidNotStart(Exception):
    """The process ended, or was not ready in time; the message ends with its last words."""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a serving process stands on: a home with one tenant's documents, an engine, a promoted prompt, a key."""

    home: Path
    key: str
    engine: psutil.Process
    environment: Mapping[str, str]
    questions: tuple[str, ...]

    @property
    def headers(self) -> dict[str, str]:
        """Of an app's request."""
        return {"Authorization": f"Bearer {self.key}"}


@dataclass(frozen=True, kw_only=True)
class Served:
    """A serving process that is ready."""

    url: str
    process: psutil.Process
    cpu_s_until_ready: float
    """Of its own, from its start until it called itself ready."""
    wall_s_until_ready: float
    resident_bytes: int
    """At that moment; pages of mapped files count in."""


@contextmanager
def surroundings(folder: Path) -> Generator[Surroundings]:
    """Start engine and fake MLflow, make the registry, bring in the documents, promote the prompt."""
    registry = f"sqlite:///{folder / 'registry.db'}"
    migrate(registry)
    with fake_mlflow_url(FakeMlflow()) as mlflow_url:
        asyncio.run(_promote(mlflow_url, registry))
        with surroundings_of(folder, mlflow_url, registry, ROOT / "policies") as around:
            yield around


@contextmanager
def surroundings_of(folder: Path, mlflow_url: str, registry: str, policies: Path) -> Generator[Surroundings]:
    """The same with an MLflow and a migrated registry that are there, and a prompt that somebody else promotes."""
    home = folder / "home"
    engine = EngineProcess(home).start()
    assert engine.process is not None
    own = {
        "ASSAY_HOME": str(home),
        "ASSAY_DATABASE_URL": registry,
        "ASSAY_MASTER_KEY": "5a" * 32,
        "ASSAY_WEBHOOK_SECRET": WEBHOOK_SECRET,
        "ASSAY_PROVIDERS": "extractive",
        "ASSAY_POLICIES": str(policies),
        "MLFLOW_TRACKING_URI": mlflow_url,
        "QDRANT_URL": engine.url,
        "QDRANT_API_KEY": ENGINE_KEY,
    }
    others = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    try:
        yield Surroundings(
            home=home,
            key=asyncio.run(_fill(registry, engine.url)),
            engine=psutil.Process(engine.process.pid),
            environment=others | own,
            questions=tuple(row.question for row in read_rows(SAMPLE / "ground_truth.jsonl") if row.tenant == TENANT),
        )
    finally:
        engine.stop()


async def _promote(mlflow_url: str, registry: str) -> None:
    rest = MlflowRest(mlflow_url)
    publisher = PromptPublisher(rest)
    pushed = await publisher.push(load_template(ROOT / "prompts" / "insights.yaml"))
    await publisher.set_alias("insights", "production", pushed.version.version)
    await rest.aclose()
    with closing(open_database(registry)) as database:
        prove(database, replace(pushed.version, alias="production"), models=[(Extractive.name, Extractive.model)])


async def _fill(database_url: str, engine_url: str) -> str:
    """One tenant and its documents; returns an app's key."""
    database = open_database(database_url)
    corpus = Corpus(engine_url, ENGINE_KEY, load_embedder())
    try:
        Tenants(database).create(TENANT, TENANT)
        report = await ingest(corpus, database, TENANT, [SAMPLE / TENANT / "documents"])
        if report.failed:
            raise ValueError(f"not ingested: {report.failed}")
        return Keys(database).create("app", TENANT, "benchmarks").key
    finally:
        await corpus.aclose()
        database.close()


@contextmanager
def serving(around: Surroundings, workers: int = 1) -> Generator[Served]:
    """Run `assay serve` until the block ends; its log is `serve.log` in home.

    Raises:
        DidNotStart: it was not ready within two minutes.
    """
    port = free_port()
    log = around.home / "serve.log"
    command = [sys.executable, "-m", "flows.cli.main", "serve", "--port", str(port)]
    command += ["--workers", str(workers)]
    with log.open("ab") as output:
        started = time.perf_counter()
        api = subprocess.Popen(command, env=dict(around.environment), cwd=ROOT, stdout=output, stderr=output)
    try:
        process = psutil.Process(api.pid)
        url = f"http://127.0.0.1:{port}"
        while not _ready(url):
            if api.poll() is not None or time.perf_counter() - started > START_TIMEOUT_S:
                raise DidNotStart(f"assay serve did not start{last_words(log)}")
            time.sleep(LOOK_EVERY_S)
        yield Served(
            url=url,
            process=process,
            cpu_s_until_ready=cpu_s(process),
            wall_s_until_ready=time.perf_counter() - started,
            resident_bytes=process.memory_info().rss,
        )
    finally:
        api.terminate()
        api.wait(STOP_TIMEOUT_S)


def _ready(url: str) -> bool:
    try:
        answer = httpx.get(f"{url}/readyz", timeout=5, trust_env=False)
    except httpx.TransportError:
        return False
    return answer.status_code == httpx.codes.OK and answer.json()["status"] == "ready"


def cpu_s(process: psutil.Process) -> float:
    """CPU seconds of a process so far."""
    times = process.cpu_times()
    return times.user + times.system
