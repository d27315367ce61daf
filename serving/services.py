"""The parts of a process that answers, as `serving.wiring` connects them: how they start and end together."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from registry.audit.log import AuditLog
from registry.corpus.collection import Corpus
from registry.database import Database
from registry.feedback import FeedbackRecords
from registry.insight_records import InsightRecords
from registry.prompts.policy import Policy
from registry.prompts.promotion_records import ServingModel, tell_serving_models
from serving.access import Access
from serving.active_prompt import ActivePrompts
from serving.arms import Arms
from serving.background import Background
from serving.call_log import CallLog
from serving.candidate_announcer import CandidateAnnouncer
from serving.insights import Insights
from serving.metrics import Metrics
from serving.provider_history import ProviderHistory
from serving.providers.board import Board
from serving.providers.chain import Chain
from serving.providers.health import ProviderProbe
from serving.readiness import Readiness
from serving.second_lock import PromptStore
from serving.settings import ServingSettings
from serving.telemetry import Telemetry
from serving.version_pages import VersionPages

logger = logging.getLogger(__name__)

PUSHES_AT_ONCE_MAX = 8
"""Pushes of MLflow whose bodies are read at once, their sender still unproven: a small part of what a process takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The parts of one process, built and connected."""

    settings: ServingSettings
    policies: Mapping[str, Policy]
    """By use case, as they were when the process started."""
    database: Database
    access: Access
    insights: Insights
    records: InsightRecords
    feedback: FeedbackRecords
    log: AuditLog
    calls: CallLog
    prompts: ActivePrompts
    arms: Arms
    promoted: PromptStore
    candidates: CandidateAnnouncer
    pages: VersionPages
    corpus: Corpus
    providers: Chain
    board: Board
    history: ProviderHistory
    telemetry: Telemetry | None
    readiness: Readiness
    metrics: Metrics
    background: Background
    webhook_secret: str
    pushes: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PUSHES_AT_ONCE_MAX))

    async def start(self) -> None:
        """Say which models answer, have prompts to serve, and keep them fresh.

        Raises:
            DatabaseUnavailable: promotions would be decided for another chain; the start is over.
        """
        models = [ServingModel(provider=link.name, model=link.model) for link in self.providers.links]
        await asyncio.to_thread(tell_serving_models, self.database, models)
        await self.prompts.start()
        self.background.start("follow-signal", self.prompts.follow_signal)
        self.background.start("poll-mlflow", self.prompts.poll)
        self.background.start("follow-experiments", self.arms.follow)
        self.background.start("announce-candidates", self.candidates.run)
        self.background.start("tell-version-pages", self.pages.run)
        probe = ProviderProbe(self.providers.links, self.metrics, idle_s=self.settings.provider_probe_s)
        self.background.start("probe-providers", probe.run)
        self.background.start("write-provider-history", self.history.run)

    async def aclose(self) -> None:
        """Stop and close everything; the audit log last, when every call has its outcome."""
        await self.background.aclose()
        await self.calls.drain()
        to_mlflow = (self.promoted, self.candidates, self.pages)
        parts = (self.providers, self.history, self.telemetry, self.corpus, *to_mlflow)
        for part in filter(None, parts):
            try:
                await part.aclose()
            except Exception:  # the others have to be closed all the same
                logger.exception("%s did not close in good order", type(part).__name__)
        self.board.close()
        self.metrics.close()
        await asyncio.to_thread(self.log.close)
        self.database.close()
