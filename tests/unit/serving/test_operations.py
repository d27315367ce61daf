"""Health, readiness, metrics, ids and headers."""

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
from fakes.fake_serving import prompt_version, prove, withdraw

from registry.prompts.mlflow_rest import MlflowUnavailable
from registry.prompts.promotion_records import ServingModel, tell_serving_models
from registry.tenants import Keys, Role
from serving.json_logs import QUIET, JsonFormatter
from serving.metrics import Metrics
from serving.middleware import RequestFrame
from serving.problems import PROBLEMS
from serving.readiness import models_probe, policy_probe

DOCS = Path(__file__).parents[3] / "docs"


async def test_liveness_asks_nobody(api: Any) -> None:
    """/healthz is open and answers without touching a dependency."""
    api.services.database.close()
    assert (await api.client.get("/healthz")).json() == {"status": "alive"}


async def test_readiness_names_every_dependency(api: Any) -> None:
    """With all well, /readyz is ready and open to everyone."""
    answer = await api.client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ready",
        "dependencies": {
            name: {"state": "ok"} for name in ("database", "engine", "models", "policies", "prompts", "providers")
        },
    }


async def test_mlflow_down_with_a_last_good_prompt_stays_ready(api: Any) -> None:
    """Answers go on, so the process is degraded and not taken away."""
    api.prompts.error = MlflowUnavailable("down")
    await api.services.prompts.refresh()
    answer = await api.client.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert answer.json()["dependencies"]["prompts"]["state"] == "degraded"


async def test_mlflow_down_without_any_prompt_is_not_ready(api: Any) -> None:
    """With nothing to serve and nobody to ask, the process is not ready."""
    withdraw(api.services.database, prompt_version())
    await api.services.prompts.refresh()
    api.prompts.error = MlflowUnavailable("down")
    await api.services.prompts.refresh()
    answer = await api.client.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (503, "not-ready")


async def test_an_alias_that_is_not_followed_degrades(api: Any) -> None:
    """What was let through answers, and somebody should look: alarm, alias and both versions are named."""
    api.prompts.versions["insights", "production"] = prompt_version(2, "Answer anew.")
    await api.services.prompts.refresh()
    answer = await api.client.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert answer.json()["dependencies"]["prompts"]["detail"] == (
        "alarm prompt-unproven: insights@production points at version 2, which may not serve (unproven), "
        "version 1 serves"
    )


async def test_prompts_without_a_proven_provider_are_not_ready(api: Any) -> None:
    """When no provider of the chain may answer with any prompt, every question would fail."""
    prove(api.services.database, prompt_version(), models=[("other", "m")], at_ms=5_000)
    await api.services.prompts.refresh()
    answer = await api.client.get("/readyz")
    assert (answer.status_code, answer.json()["dependencies"]["prompts"]["state"]) == (503, "down")


async def test_processes_that_serve_with_different_models_say_so(api: Any) -> None:
    """Promotions ask about the models that were told last; whoever serves with others shows it until both agree."""
    own = [ServingModel(provider=link.name, model=link.model) for link in api.services.providers.links]
    other = ServingModel(provider="elsewhere", model="large")
    for told, state in ((own, "ok"), ([*own, other], "degraded"), ([other], "degraded"), (own, "ok")):
        tell_serving_models(api.services.database, told)
        assert (await models_probe(api.services.database, api.services.providers.links)()).state == state
    tell_serving_models(api.services.database, [other])
    answer = await api.client.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert "it told elsewhere large" in answer.json()["dependencies"]["models"]["detail"]


async def test_a_policy_file_that_broke_is_degraded(api: Any, tmp_path: Path) -> None:
    """Questions are answered by what was read at the start; no path leaves."""
    (tmp_path / "insights.yaml").write_text("requires: [\n")
    found = await policy_probe(tmp_path)()
    assert (found.state, found.detail) == ("degraded", "a policy file cannot be used; see `assay doctor`")
    assert (await policy_probe(api.services.settings.policies)()).state == "ok"


async def test_the_engine_down_is_not_ready(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead engine shows by its problem code, without its address."""

    async def away(_name: str) -> bool:
        raise OSError("http://secret-host:6333")

    monkeypatch.setattr(api.services.corpus.client, "collection_exists", away)
    answer = await api.client.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (503, "not-ready")
    assert answer.json()["dependencies"]["engine"] == {"state": "down", "detail": "retrieval-unavailable"}


async def test_metrics_need_a_key_and_name_no_tenant(filled: Any) -> None:
    """/metrics is for ops; its labels hold configuration only."""
    await filled.ask()
    await filled.ask(use_case="planted-use-case")
    await filled.client.get("/planted-path")
    assert (await filled.client.get("/metrics")).status_code == 401
    assert (await filled.client.get("/metrics", headers=filled.as_("app"))).status_code == 403
    text = (await filled.client.get("/metrics", headers=filled.as_("ops"))).text
    assert 'assay_insights_total{outcome="served",use_case="insights"} 1.0' in text
    assert 'assay_insights_total{outcome="refused",use_case="unknown"} 1.0' in text
    assert "planted" not in text
    assert "north" not in text


@pytest.mark.parametrize("role", ["ops", "admin"])
async def test_metrics_are_not_for_tenants(api: Any, role: Role) -> None:
    """The figures are the whole platform's, so a key that ends at a tenant may not read them."""
    key = Keys(api.services.database).create(role, "north", "tests").key
    answer = await api.client.get("/metrics", headers={"Authorization": f"Bearer {key}"})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def test_every_metric_has_its_heading() -> None:
    """docs/metrics.md has one heading a metric and no other."""
    suffix = {"counter": "_total"}
    exposed = {family.name + suffix.get(family.type, "") for family in Metrics().registry.collect()}
    assert set(re.findall(r"^## (\S+)$", (DOCS / "metrics.md").read_text(), re.MULTILINE)) == exposed


async def test_a_sane_request_id_is_kept_and_a_strange_one_replaced(api: Any) -> None:
    """The client's id is used when it is short and plain."""
    kept = await api.client.get("/healthz", headers={"X-Request-Id": "job-7.a_b"})
    made = await api.client.get("/healthz", headers={"X-Request-Id": "a b\tc"})
    assert kept.headers["X-Request-Id"] == "job-7.a_b"
    assert re.fullmatch("[0-9a-f]{32}", made.headers["X-Request-Id"])


@pytest.mark.parametrize(
    ("traceparent", "kept"),
    [
        ("00-" + "a" * 32 + "-" + "b" * 16 + "-01", True),
        ("00-" + "0" * 32 + "-" + "b" * 16 + "-01", False),
        ("ff-" + "a" * 32 + "-" + "b" * 16 + "-01", False),
        ("nonsense", False),
    ],
)
async def test_the_trace_id_comes_from_traceparent(filled: Any, traceparent: str, *, kept: bool) -> None:
    """A valid W3C traceparent names the trace in the audit entry; anything else is replaced."""
    headers = filled.as_("app", traceparent=traceparent)
    await filled.client.post("/v1/insights", json={"question": "return rate?"}, headers=headers)
    assert (filled.audit()[-2]["body"]["trace_id"] == "a" * 32) is kept


async def test_every_answer_carries_security_headers(api: Any) -> None:
    """Also errors: no sniffing, no framing, no caching."""
    for path in ("/healthz", "/nothing"):
        headers = (await api.client.get(path)).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


async def test_the_access_line_has_ids_and_no_content(filled: Any, caplog: pytest.LogCaptureFixture) -> None:
    """One line a request: route template, status, key id; no question, no key, no address, no query."""
    caplog.set_level(logging.INFO)
    await filled.client.post(
        "/v1/insights?planted=1",
        json={"question": "planted question"},
        headers=filled.as_("app", **{"X-Request-Id": "r1"}),
    )
    formatter = JsonFormatter()
    lines = [formatter.format(record) for record in caplog.records if record.name not in QUIET]
    access = next(json.loads(line) for line in lines if "serving.access" in line)
    assert (access["method"], access["route"], access["status"]) == ("POST", "/v1/insights", 200)
    assert access["tenant"] == "north"
    assert not any("planted" in line or filled.keys["app"] in line for line in lines)


def test_an_exception_is_logged_without_its_message() -> None:
    """Type and places of the whole chain, no texts and no source lines."""
    try:
        try:
            raise ValueError("planted")  # noqa: TRY301 - the planted text
        except ValueError as error:
            raise RuntimeError("planted too") from error
    except RuntimeError as error:
        record = logging.LogRecord(
            "x", logging.ERROR, __file__, 1, "it broke", (), (RuntimeError, error, error.__traceback__)
        )
    line = json.loads(JsonFormatter().format(record))
    assert [link["type"] for link in line["exception"]] == ["builtins.RuntimeError", "builtins.ValueError"]
    assert "planted" not in json.dumps(line)


async def test_too_many_at_once_are_told_to_come_back() -> None:
    """Beyond its limit a process refuses at once instead of queueing."""

    async def never(_scope: Any, _receive: Any, _send: Any) -> None:
        raise AssertionError

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    frame = RequestFrame(never, Metrics(), in_flight_max=0)
    await frame({"type": "http", "method": "GET", "path": "/", "headers": []}, never, send)
    assert sent[0]["status"] == PROBLEMS["overloaded"].status
    assert (b"retry-after", b"1") in sent[0]["headers"]


async def test_a_busy_process_is_still_alive() -> None:
    """Liveness is answered beyond the limit too: a busy process must not be restarted."""
    asked: list[str] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        asked.append(scope["path"])

    frame = RequestFrame(app, Metrics(), in_flight_max=0)
    await frame({"type": "http", "method": "GET", "path": "/healthz", "headers": []}, app, app)
    assert asked == ["/healthz"]
