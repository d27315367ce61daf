"""The composition root of a process that answers: every part is made here, and tests replace those at the rim."""

import asyncio
import logging
import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from registry.audit.log import AuditLog
from registry.audit.vault import Vault
from registry.corpus.collection import Corpus
from registry.database import Database, open_database
from registry.embedding import load_embedder
from registry.feedback import FeedbackRecords
from registry.insight_records import InsightRecords
from registry.prompts.assignment import assignment_key
from registry.prompts.mlflow_rest import MlflowRest
from registry.prompts.policy import Policy, load_policies
from registry.prompts.promoted import PromotedPrompts
from registry.tenants import Keys, Tenants
from serving.access import Access
from serving.active_prompt import ActivePrompts
from serving.arms import Arms
from serving.background import Background
from serving.budget_gate import BudgetGate, PricedModel
from serving.call_log import CallLog, Outcome
from serving.candidate_announcer import CandidateAnnouncer
from serving.insights import Insights
from serving.metrics import Metrics
from serving.prefect_events import PrefectEvents
from serving.prompt_alarms import PromptAlarms
from serving.provider_history import ProviderHistory
from serving.providers.base import Provider
from serving.providers.board import Board
from serving.providers.chain import Chain
from serving.providers.vendors import ProviderPolicy, build_vendors
from serving.readiness import (
    Readiness,
    database_probe,
    engine_probe,
    models_probe,
    policy_probe,
    prompt_probe,
    provider_probe,
)
from serving.retrieval import retriever
from serving.second_lock import PromptStore
from serving.services import Services
from serving.settings import ServingSettings
from serving.telemetry import Telemetry, build_telemetry, require_collector
from serving.version_pages import VersionPages

logger = logging.getLogger(__name__)

SERVE = "serve"
"""The role of a process that answers apps; others, as an evaluation, judge providers by themselves."""
BOARD_FILE = Path("run", "providers.board")
"""In home: what the workers of this node know together about each provider."""


def build(
    settings: ServingSettings,
    *,
    role: str = SERVE,
    vendors: Sequence[Provider] | None = None,
    corpus: Corpus | None = None,
    promoted: PromptStore | None = None,
) -> Services:
    """Connect the parts of a process; nothing runs yet.

    Args:
        settings: read at the door.
        role: first half of the name of this process's audit log.
        vendors: instead of the providers that the settings name.
        corpus: instead of the one behind QDRANT_URL.
        promoted: instead of MLflow's prompts.

    Raises:
        AssayError: a setting, a key or the database is missing; nothing stays open then.
    """
    with ExitStack() as opened:
        policies = load_policies(settings.policies)
        if not policies:
            logger.warning("no use case in %s: every question will be refused; set ASSAY_POLICIES", settings.policies)
        database = open_database(settings.database_url)
        opened.callback(database.close)
        log = AuditLog.open(settings.home / "audit", role)
        opened.callback(log.close)
        # What an evaluation meets must neither open the breakers of those who serve nor count as their service.
        board = Board.shared(settings.home / BOARD_FILE) if role == SERVE else Board.private()
        opened.callback(board.close)
        services = _connect(
            _Rim(
                settings=settings,
                is_serving=role == SERVE,
                policies=policies,
                database=database,
                log=log,
                board=board,
                vendors=vendors or build_vendors(settings.providers, provider_policy(settings)),
                corpus=corpus
                or Corpus(
                    settings.qdrant_url, settings.engine_key, load_embedder(settings.home / "cache" / "embedder")
                ),
                promoted=promoted or PromotedPrompts(settings.mlflow_access, settings.home, database),
            )
        )
        opened.pop_all()
        return services


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rim:
    """What the parts of a process stand on: read, opened, or a test's own."""

    settings: ServingSettings
    is_serving: bool
    policies: Mapping[str, Policy]
    database: Database
    log: AuditLog
    board: Board
    vendors: Sequence[Provider]
    corpus: Corpus
    promoted: PromptStore


def _connect(rim: _Rim) -> Services:
    settings, database, log, promoted = rim.settings, rim.database, rim.log, rim.promoted
    metrics = Metrics()
    history = ProviderHistory(database)
    telemetry = build_telemetry(settings.otlp_endpoint)
    providers = _chain(rim, metrics, history, telemetry)
    vault = Vault(database, settings.master_key)
    records = InsightRecords(database, vault)
    prompts = _active_prompts(rim, metrics)
    key = assignment_key(settings.master_key)
    arms = Arms(promoted, database, key=key, hashed=vault.subject_hash, metrics=metrics, note=log.note_now)
    calls = _call_log(rim, vault, metrics)
    insights = Insights(
        policies=rim.policies,
        prompts=prompts,
        arms=arms,
        retrieve=retriever(rim.corpus),
        complete=providers.complete,
        stream=providers.stream,
        gate=BudgetGate([PricedModel(provider.name, provider.model) for provider in providers.vendors]),
        calls=calls,
        records=records,
        metrics=metrics,
        delimiter_secret=settings.master_key,
        deadline_s=settings.deadline_s,
    )
    return Services(
        settings=settings,
        policies=rim.policies,
        database=database,
        access=Access(Keys(database), Tenants(database)),
        insights=insights,
        records=records,
        feedback=FeedbackRecords(database, vault, records),
        log=log,
        calls=calls,
        prompts=prompts,
        arms=arms,
        promoted=promoted,
        candidates=_announcer(rim),
        pages=_version_pages(rim),
        corpus=rim.corpus,
        providers=providers,
        board=rim.board,
        history=history,
        telemetry=telemetry,
        readiness=_readiness(settings.policies, database, rim.corpus, prompts, providers),
        metrics=metrics,
        background=Background(lambda task: metrics.background_crashes.labels(task).inc()),
        webhook_secret=settings.webhook_secret,
    )


def _chain(rim: _Rim, metrics: Metrics, history: ProviderHistory, telemetry: Telemetry | None) -> Chain:
    observers = (
        metrics.observe_attempt,
        history.observe if rim.is_serving else None,
        telemetry.observe if telemetry else None,
    )
    return Chain(
        rim.vendors,
        board=rim.board,
        observers=[observer for observer in observers if observer is not None],
        count=metrics.count_provider_event,
        hedge=rim.settings.hedge,
        concurrent_max=rim.settings.provider_concurrency,
    )


def _active_prompts(rim: _Rim, metrics: Metrics) -> ActivePrompts:
    slots = sorted({(policy.prompt, policy.alias) for policy in rim.policies.values()})
    alarms = PromptAlarms(rim.database, slots, rim.log.note_now)
    return ActivePrompts(rim.promoted, rim.database, slots, metrics, alarms, holder=_holder())


def _call_log(rim: _Rim, vault: Vault, metrics: Metrics) -> CallLog:
    def count(use_case: str, outcome: Outcome) -> None:
        metrics.insights.labels(use_case if use_case in rim.policies else "unknown", outcome).inc()

    return CallLog(rim.log, vault.subject_hash, count)


def _announcer(rim: _Rim) -> CandidateAnnouncer:
    return CandidateAnnouncer(
        rim.database,
        [policy.prompt for policy in rim.policies.values()],
        mlflow=MlflowRest(rim.settings.mlflow_access),
        events=PrefectEvents(rim.settings.prefect_url, rim.settings.prefect_auth),
        holder=_holder(),
    )


def _version_pages(rim: _Rim) -> VersionPages:
    return VersionPages(
        rim.database,
        rim.policies.values(),
        mlflow=MlflowRest(rim.settings.mlflow_access),
        mlflow_url=rim.settings.mlflow_url,
        holder=_holder(),
    )


def _holder() -> str:
    """This process, among all that may hold a lease."""
    return f"{socket.gethostname()}:{os.getpid()}"


def require_settings(settings: ServingSettings) -> None:
    """Refuse what no process could be built with, before one is started or stopped.

    Raises:
        InvalidInput: the collector's address, a policy or a provider; says what to change.
    """
    require_collector(settings.otlp_endpoint)
    load_policies(settings.policies)
    asyncio.run(_close(build_vendors(settings.providers, provider_policy(settings))))


async def _close(vendors: Sequence[Provider]) -> None:
    for vendor in vendors:
        await vendor.aclose()


def _readiness(
    policies: Path, database: Database, corpus: Corpus, prompts: ActivePrompts, providers: Chain
) -> Readiness:
    return Readiness(
        {
            "database": database_probe(database),
            "engine": engine_probe(corpus),
            "policies": policy_probe(policies),
            "prompts": prompt_probe(prompts, providers.links),
            "providers": provider_probe(providers.links),
            "models": models_probe(database, providers.links),
        }
    )


def provider_policy(settings: ServingSettings) -> ProviderPolicy:
    """What the providers need from the settings."""
    return ProviderPolicy(
        anthropic_api_key=settings.anthropic_api_key,
        anthropic_model=settings.anthropic_model,
        anthropic_base_url=settings.anthropic_base_url,
        openai_api_key=settings.openai_api_key,
        openai_model=settings.openai_model,
        openai_base_url=settings.openai_base_url,
        openai_api=settings.openai_api,
        local_base_url=f"http://127.0.0.1:{settings.llm_port}/v1",
        script=settings.script,
    )
