"""What the gate asks before MLflow's model registry changes something, without MLflow."""

import json
from pathlib import Path
from typing import Any

import pytest
from fakes.fake_clock import FakeClock

from registry.database import Database, DatabaseUnavailable
from registry.prompts.gatekeeper import ChangeRefused, GateClosed, Gatekeeper, GateSettings
from registry.prompts.promoted import PROMPTS_SIGNAL
from registry.prompts.promotion import PromotionRefused
from registry.prompts.promotion_records import ServingModel, tell_serving_models, valid_promotions
from registry.prompts.schema import content_hash
from registry.prompts.stored import from_tags
from registry.prompts.versions import PromotedVersion
from registry.signals import read_signal

POLICY = "use_case: {use_case}\nprompt: {prompt}\nalias: {alias}\nrequires: [{{kind: {kind}}}]\n"


class Keeper:
    """A gatekeeper with a home and policies of its own."""

    def __init__(self, home: Path, database_url: str) -> None:
        self.home, self.policies = home, home / "policies"
        self.policies.mkdir()
        self.protect()
        self.settings = GateSettings.model_validate(
            {"home": home, "policies": self.policies, "assay_database_url": database_url}
        )
        self.gate = Gatekeeper(self.settings, FakeClock())

    def protect(
        self, use_case: str = "brief", prompt: str = "brief", alias: str = "production", kind: str = "lint"
    ) -> None:
        """Write a policy file."""
        text = POLICY.format(use_case=use_case, prompt=prompt, alias=alias, kind=kind)
        (self.policies / f"{use_case}.yaml").write_text(text)

    def move(self, version: PromotedVersion, by: str = "ada") -> None:
        """Let a version through, and move nothing."""
        policy = self.gate.policy("brief", "production")
        assert policy is not None
        with self.gate.promotion(policy, version, by):
            pass

    def notes(self) -> list[dict[str, Any]]:
        """The entries of the audit log, less its own."""
        lines = [
            line for file in (self.home / "audit").glob("mlflow-*.jsonl") for line in file.read_text().splitlines()
        ]
        return [entry for entry in map(json.loads, lines) if not entry["kind"].startswith("log.")]


@pytest.fixture
def keeper(tmp_path: Path, database_url: str) -> Keeper:
    """A gate that protects `brief@production` and asks for the linter's word."""
    home = tmp_path / "gate"
    home.mkdir()
    return Keeper(home, database_url)


@pytest.fixture
def version(database: Database) -> PromotedVersion:
    """A version that the linter lets pass, and a chain that would serve it."""
    tell_serving_models(database, [ServingModel(provider="extractive", model="extractive-1")])
    template = from_tags("brief", {"mlflow.prompt.text": "Answer {{question}} from {{passages}}."})
    digest = content_hash(template)
    return PromotedVersion(name="brief", version=1, alias="production", template=template, content_hash=digest)


def test_a_new_policy_protects_at_once(keeper: Keeper) -> None:
    """Policies are read anew when a file comes, changes or goes."""
    assert keeper.gate.aliases("other") == ()
    keeper.protect("other", "other", "live")
    assert keeper.gate.aliases("other") == ("live",)
    keeper.protect("other", "other", "alive")
    assert keeper.gate.aliases("other") == ("alive",)
    (keeper.policies / "other.yaml").unlink()
    assert keeper.gate.policy("other", "alive") is None


@pytest.mark.parametrize("break_it", ["empty", "missing", "unreadable", "twice"])
def test_without_usable_policies_the_gate_is_closed(keeper: Keeper, break_it: str) -> None:
    """A server does not start without them, and one that runs lets nothing through."""
    if break_it == "unreadable":
        (keeper.policies / "other.yaml").write_text("use_case: [")
    elif break_it == "twice":
        keeper.protect("other", "brief", "production")
    else:
        (keeper.policies / "brief.yaml").unlink()
    if break_it == "missing":
        keeper.policies.rmdir()
    with pytest.raises(GateClosed):
        keeper.gate.policy("brief", "production")
    with pytest.raises(GateClosed):
        Gatekeeper(keeper.settings)


def test_a_move_leaves_record_note_and_signal(keeper: Keeper, version: PromotedVersion, database: Database) -> None:
    """What is let through may serve, is in the audit log, and the workers are told."""
    keeper.move(version)
    (record,) = valid_promotions(database, "brief", "production", 0)
    assert (record.promoted_by, record.basis) == ("ada", "evidence")
    assert [note["kind"] for note in keeper.notes()] == ["prompt.promotion"]
    assert read_signal(database, PROMPTS_SIGNAL) == 1


def test_a_move_that_fails_takes_its_record_back(keeper: Keeper, version: PromotedVersion, database: Database) -> None:
    """When MLflow cannot move the alias, nothing may serve; an earlier record stays."""
    policy = keeper.gate.policy("brief", "production")
    assert policy is not None
    with pytest.raises(OSError, match="full"), keeper.gate.promotion(policy, version, "ada"):
        raise OSError("full")
    assert valid_promotions(database, "brief", "production", 0) == ()
    keeper.move(version)
    with pytest.raises(OSError, match="full"), keeper.gate.promotion(policy, version, "ada"):
        raise OSError("full")
    assert len(valid_promotions(database, "brief", "production", 0)) == 1


def test_before_anything_serves_nothing_is_promoted(
    keeper: Keeper, version: PromotedVersion, database: Database
) -> None:
    """Without a chain nobody knows with which model the evidence has to be."""
    tell_serving_models(database, [])
    with pytest.raises((ChangeRefused, PromotionRefused), match="no serving process has told"):
        keeper.move(version)


def test_a_registry_that_is_not_there_yet_is_opened_later(keeper: Keeper, tmp_path: Path) -> None:
    """MLflow may start before the registry is made; until then protected aliases wait."""
    settings = keeper.settings.model_copy(update={"assay_database_url": f"sqlite:///{tmp_path / 'none.db'}"})
    with pytest.raises(DatabaseUnavailable, match="run `assay up`"):
        Gatekeeper(settings).may_serve("brief")


def test_one_alias_moves_at_a_time(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes second waits, and not for ever."""
    monkeypatch.setattr("registry.prompts.gatekeeper.MOVE_TIMEOUT_S", 0.01)
    with keeper.gate.moving(), pytest.raises(GateClosed, match="being moved"), keeper.gate.moving():
        pass
    with keeper.gate.moving():
        pass


def test_a_refused_change_is_noted_in_few_words(keeper: Keeper) -> None:
    """Who tried what is in the audit log, whatever the length of the request."""
    error = keeper.gate.refusal("rename prompt", "eve", "No.", {"prompt": "brief", "new_name": "x" * 100_000})
    (note,) = keeper.notes()
    assert isinstance(error, ChangeRefused)
    assert (note["kind"], note["body"]["by"], len(note["body"]["new_name"])) == ("prompt.change-refused", "eve", 300)


def test_a_refusal_stands_without_the_audit_log(keeper: Keeper) -> None:
    """A full disk does not open the gate."""
    (keeper.home / "audit").write_text("in the way")
    assert str(keeper.gate.refusal("rename prompt", "eve", "No.", {})) == "No."
