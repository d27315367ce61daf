"""MLflow's pushes: believed after their signature, once, and registered without repeating."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from fakes.fake_mlflow import URL, FakeMlflow
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from registry.database import Database, DatabaseUnavailable
from registry.prompts import webhooks
from registry.prompts.promoted import PROMPTS_SIGNAL
from registry.prompts.webhooks import (
    BODY_BYTES_MAX,
    HOOK_NAME,
    TIME_WINDOW_S,
    Delivery,
    WebhookRejected,
    WebhookReplayed,
    ensure_webhook,
    remember_delivery,
    sign,
    verify,
)
from registry.schema import webhook_deliveries
from registry.signals import read_signal

NOW = 1_795_406_043
SECRET = "s3cret"
BODY = (
    b'{"entity": "prompt_alias", "action": "created", "timestamp": "2026-11-23T03:54:03.171252+00:00", '
    b'"data": {"name": "insights", "alias": "production", "version": "1"}}'
)
HOOK = "https://assay.example/hooks/mlflow"


def headers(body: bytes = BODY, *, at: int = NOW, key: str = SECRET, delivery: str = "6094d4aa") -> dict[str, str]:
    """A signed request's headers."""
    return {
        "X-MLflow-Delivery-Id": delivery,
        "X-MLflow-Timestamp": str(at),
        "X-MLflow-Signature": sign(delivery, str(at), body, key),
    }


def body(**change: Any) -> bytes:
    """The recorded body with other members."""
    return json.dumps({**json.loads(BODY), **change}).encode()


def test_a_real_delivery_is_read() -> None:
    """A push recorded from MLflow 3.17 is accepted with the secret it was signed with (`other`)."""
    recorded = {
        "x-mlflow-delivery-id": "6094d4aa-8bd6-476f-8dc9-7bcf2b547cdc",
        "x-mlflow-timestamp": "1795406043",
        "x-mlflow-signature": "v1,3Eb9kBUXXiA1hyHeYs0eVbYNCCzsKcITunb48Ph+8lo=",
    }
    assert verify(recorded, BODY, "other", NOW) == Delivery(
        id="6094d4aa-8bd6-476f-8dc9-7bcf2b547cdc",
        event="prompt_alias.created",
        prompt="insights",
        alias="production",
        version=1,
    )


def test_a_deleted_alias_has_no_version() -> None:
    """The other event we ask for names no version."""
    deleted = body(action="deleted", data={"name": "insights", "alias": "production"})
    delivery = verify(headers(deleted), deleted, SECRET, NOW)
    assert (delivery.event, delivery.version) == ("prompt_alias.deleted", None)


@pytest.mark.parametrize("age", [-TIME_WINDOW_S, 0, TIME_WINDOW_S])
def test_a_delivery_within_the_window_is_accepted(age: int) -> None:
    """Clocks may differ, and MLflow's retries carry the first attempt's time."""
    assert verify(headers(), BODY, SECRET, NOW + age).alias == "production"


@pytest.mark.parametrize(
    ("sent", "content", "now"),
    [
        ({}, BODY, NOW),
        (headers(key="guess"), BODY, NOW),
        (headers(), BODY.replace(b"production", b"candidates"), NOW),
        (headers() | {"X-MLflow-Timestamp": str(NOW + 1)}, BODY, NOW),
        (headers() | {"X-MLflow-Delivery-Id": "another"}, BODY, NOW),
        (headers() | {"X-MLflow-Signature": headers()["X-MLflow-Signature"].removeprefix("v1,")}, BODY, NOW),
        (headers() | {"X-MLflow-Signature": "v1,ü"}, BODY, NOW),
        (headers(), BODY, NOW + TIME_WINDOW_S + 1),
        (headers(), BODY, NOW - TIME_WINDOW_S - 1),
        (headers(delivery=""), BODY, NOW),
        (headers(delivery="x" * 65), BODY, NOW),
        (headers(b"x" * (BODY_BYTES_MAX + 1)), b"x" * (BODY_BYTES_MAX + 1), NOW),
    ],
    ids=["unsigned", "key", "body", "time", "id", "scheme", "ascii", "late", "early", "no-id", "long-id", "huge"],
)
def test_everything_else_is_rejected(sent: Mapping[str, str], content: bytes, now: float) -> None:
    """A wrong key, body, time, id or size: rejected, and the message gives nothing of the secret away."""
    with pytest.raises(WebhookRejected) as caught:
        verify(sent, content, SECRET, now)
    assert SECRET not in caught.value.message


@pytest.mark.parametrize("stamp", ["", "now", "1e9", "-5", "²", "9" * 5_000, "0" * 5_000 + str(NOW)])
def test_a_time_that_is_none_is_rejected(stamp: str) -> None:
    """A signed delivery whose time cannot be read is rejected, not crashed on."""
    signed = headers() | {"X-MLflow-Timestamp": stamp, "X-MLflow-Signature": sign("6094d4aa", stamp, BODY, SECRET)}
    with pytest.raises(WebhookRejected):
        verify(signed, BODY, SECRET, NOW)


@pytest.mark.parametrize("number", ["Infinity", "-Infinity", "NaN", "1e999", "9" * 5_000, '"' + "9" * 5_000 + '"'])
def test_a_version_that_is_no_number_is_rejected(number: str) -> None:
    """A signed delivery whose version cannot be a version is rejected, not crashed on."""
    odd = BODY.replace(b'"1"', number.encode())
    with pytest.raises(WebhookRejected):
        verify(headers(odd), odd, SECRET, NOW)


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps).map(str.encode)
)
def test_a_signed_body_of_another_shape_is_rejected(content: bytes) -> None:
    """Whatever is signed and no alias event is rejected with a sentence."""
    with pytest.raises(WebhookRejected):
        verify(headers(content), content, SECRET, NOW)


def test_an_empty_secret_opens_nothing() -> None:
    """Without a secret nothing is believed, a body signed with the empty one least of all."""
    with pytest.raises(WebhookRejected, match="ASSAY_WEBHOOK_SECRET"):
        verify(headers(key=""), BODY, "", NOW)


def test_a_delivery_counts_once(database: Database) -> None:
    """The same delivery again is a replay, in every process; another one is not."""
    first, second = (verify(headers(delivery=name), BODY, SECRET, NOW) for name in ("one", "two"))
    remember_delivery(database, first, lambda: NOW)
    remember_delivery(database, second, lambda: NOW)
    with pytest.raises(WebhookReplayed, match="'one'"):
        remember_delivery(database, first, lambda: NOW + TIME_WINDOW_S)


def test_a_delivery_that_could_not_be_told_is_not_accepted(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are one transaction: MLflow's next try tells it."""
    delivery = verify(headers(delivery="one"), BODY, SECRET, NOW)

    def away(*_: object) -> None:
        raise DatabaseUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(webhooks, "bump_signal", away)
        with pytest.raises(DatabaseUnavailable):
            remember_delivery(database, delivery, lambda: NOW)
    assert read_signal(database, PROMPTS_SIGNAL) == 0
    remember_delivery(database, delivery, lambda: NOW)
    assert read_signal(database, PROMPTS_SIGNAL) == 1


def test_old_deliveries_are_forgotten(database: Database) -> None:
    """The table stays small: what the time window refuses anyway is dropped."""
    for number in range(5):
        delivery = verify(headers(delivery=f"d{number}"), BODY, SECRET, NOW)
        remember_delivery(database, delivery, lambda number=number: NOW + number * 3 * TIME_WINDOW_S)
    with database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(webhook_deliveries)) == 1


async def test_the_hook_is_registered_once() -> None:
    """Repeating changes nothing; not even the secret is sent again."""
    mlflow = FakeMlflow()
    ids = [await ensure_webhook(URL, HOOK, SECRET, client=mlflow.client()) for _ in range(3)]
    assert len(set(ids)) == 1
    assert mlflow.secrets == [SECRET]
    (hook,) = mlflow.hooks
    assert (hook["url"], hook["status"]) == (HOOK, "ACTIVE")
    assert [(event["entity"], event["action"]) for event in hook["events"]] == [
        ("PROMPT_ALIAS", "CREATED"),
        ("PROMPT_ALIAS", "DELETED"),
    ]
    assert SECRET not in json.dumps(hook)


@pytest.mark.parametrize(
    "change",
    [{"url": "https://elsewhere.example"}, {"status": "DISABLED"}, {"events": []}, {"description": "someone's words"}],
)
async def test_a_changed_hook_is_mended(change: dict[str, Any]) -> None:
    """A hook that someone redirected, disabled or emptied is put right, secret included."""
    mlflow = FakeMlflow()
    await ensure_webhook(URL, HOOK, SECRET, client=mlflow.client())
    before = dict(mlflow.hooks[0])
    mlflow.hooks[0].update(change)
    await ensure_webhook(URL, HOOK, SECRET, client=mlflow.client())
    assert mlflow.hooks == [before]
    assert mlflow.secrets == [SECRET, SECRET]


async def test_a_new_secret_reaches_mlflow() -> None:
    """After the secret was changed, the hook signs with the new one."""
    mlflow = FakeMlflow()
    await ensure_webhook(URL, HOOK, SECRET, client=mlflow.client())
    await ensure_webhook(URL, HOOK, "new", client=mlflow.client())
    assert mlflow.secrets == [SECRET, "new"]


async def test_other_hooks_are_left_alone() -> None:
    """Only our own hook is touched; a second one of our name is removed."""
    mlflow = FakeMlflow()
    mlflow.hooks += [
        {"webhook_id": name, "name": kind} for name, kind in (("a", "theirs"), ("b", HOOK_NAME), ("c", HOOK_NAME))
    ]
    await ensure_webhook(URL, HOOK, SECRET, client=mlflow.client())
    assert [hook["webhook_id"] for hook in mlflow.hooks] == ["a", "b"]
