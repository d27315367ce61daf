"""Stand-ins for what `flows.wiring` gives an evaluation, and for MLflow's runs."""

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fakes.fake_insights import FakeTarget

from registry.database import Database
from registry.errors import NotFound
from registry.insights import Passage
from registry.prompts.versions import PromotedVersion, PromptNotFound
from registry.runs import LoggedRun, RunReport


@dataclass
class FakeServices:
    """Prompts by reference, one target a version, one document."""

    database: Database
    home: Path
    prompts: dict[str, PromotedVersion]
    targets: dict[int, FakeTarget]
    asked: list[tuple[int, str]] = field(default_factory=list)
    evaluations: int = 0
    gone: str = "nobody"
    """A tenant that is not there."""

    def new_id(self) -> str:
        """000000000001, 000000000002, ..."""
        self.evaluations += 1
        return f"{self.evaluations:012}"

    @property
    def services(self) -> Any:
        """The parts behind it that evaluation looks at."""
        return SimpleNamespace(
            settings=SimpleNamespace(policies=self.home / "policies", home=self.home), database=self.database
        )

    async def prompt(self, reference: str) -> PromotedVersion:
        """The version of that name."""
        if reference not in self.prompts:
            raise PromptNotFound(reference)
        return self.prompts[reference]

    async def require_tenant(self, tenant: str) -> None:
        """All tenants are there but one."""
        if tenant == self.gone:
            raise NotFound(f"there is no tenant {tenant!r}")

    def target(self, version: PromotedVersion, tenant: str) -> FakeTarget:
        """The version's target, noting for whom."""
        self.asked.append((version.version, tenant))
        return self.targets[version.version]

    def passages_of(self, tenant: str) -> Any:
        """One passage for each tenant's document."""

        async def passages(document: str) -> list[Passage]:
            return [Passage(id=f"{tenant}-p", document=document, score=0, text="There were 12 boxes.")]

        return passages


class FakeRuns:
    """Takes runs and keeps them."""

    def __init__(self) -> None:
        self.reports: list[RunReport] = []

    def log(self, report: RunReport) -> LoggedRun:
        """Keep it."""
        self.reports.append(report)
        return LoggedRun(id="run-1", url="http://mlflow/run-1")
