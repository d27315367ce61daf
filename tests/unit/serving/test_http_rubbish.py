"""Whatever a client sends, the answer is a problem and never a 500."""

import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from registry.errors import InvalidInput
from registry.insights import Question
from serving.middleware import BODY_BYTES_MAX
from serving.routes.json_body import parse

JSON = {"Content-Type": "application/json"}

BODIES = {
    "empty": b"",
    "spaces": b"  \n",
    "not JSON": b"{question: 1}",
    "an array": b"[]",
    "null": b"null",
    "a string": b'"question"',
    "bad UTF-8": b'{"question": "\xff\xfe"}',
    "UTF-16": '{"question": "x"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"question": "x"}',
    "a lone surrogate": b'{"question": "\\ud800"}',
    "a surrogate as a name": b'{"question": "x", "\\udfff": 1}',
    "NUL": b'{"question": "a\\u0000b"}',
    "an escape character": b'{"question": "a\\u001b[31mb"}',
    "a control character in a name": b'{"question": "x", "filters": {"a\\u0001": "b"}}',
    "NaN": b'{"question": "x", "deadline_s": NaN}',
    "infinity": b'{"question": "x", "deadline_s": 1e999}',
    "a huge number": b'{"question": "x", "filters": {"date": 123456789012345678901234567890}}',
    "a number of 5000 digits": b'{"question": "x", "filters": {"date": ' + b"9" * 5000 + b"}}",
    "deep nesting": b'{"question": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "deep filters": b'{"question": "x", "filters": {"a":' * 1 + b'{"a":' * 500 + b"1" + b"}" * 502,
    "a nest of lists that a JSON reader takes": b'{"question": ' + b"[" * 1_000 + b"]" * 1_000 + b"}",
    "a nest of objects that a JSON reader takes": b'{"question": ' + b'{"a":' * 1_000 + b"1" + b"}" * 1_001,
    "no question": b"{}",
    "an empty question": b'{"question": ""}',
    "a blank question": b'{"question": " \\t\\n "}',
    "a number as question": b'{"question": 7}',
    "a list as question": b'{"question": ["x"]}',
    "a long question": json.dumps({"question": "x" * 4_001}).encode(),
    "an unknown member": b'{"question": "x", "billed_to": "evaluation"}',
    "text for a number": b'{"question": "x", "deadline_s": "5"}',
    "a negative deadline": b'{"question": "x", "deadline_s": -1}',
    "too long a deadline": b'{"question": "x", "deadline_s": 121}',
    "money as a number": b'{"question": "x", "max_cost_usd": 0.1}',
    "negative money": b'{"question": "x", "max_cost_usd": "-1"}',
    "an undeclared filter": b'{"question": "x", "filters": {"secret": "y"}}',
    "the tenant as filter": b'{"question": "x", "filters": {"tenant": "south"}}',
    "an empty list as filter": b'{"question": "x", "filters": {"document": []}}',
    "a foreign filter": b'{"question": "x", "filters": {"must": {"key": "tenant"}}}',
    "metrics without points": b'{"question": "x", "metrics": [{"name": "a", "points": []}]}',
    "a use case with a path": b'{"question": "x", "use_case": "../../etc/passwd"}',
}


async def send(api: Any, body: bytes) -> Any:
    """POST raw bytes as an app."""
    return await api.client.post("/v1/insights", content=body, headers=api.as_("app", **JSON))


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
async def test_a_bad_body_gets_a_problem(api: Any, body: bytes) -> None:
    """422 invalid-request, as problem+json, without asking anybody."""
    answer = await send(api, body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request"), answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["X-Request-Id"]
    assert api.provider.requests == []


async def test_a_problem_points_at_the_fault_and_quotes_nothing(api: Any) -> None:
    """`errors` has JSON pointers; what the client sent is not repeated."""
    body = {"question": 7, "metrics": [{"name": "planted", "points": [{"t": "2026", "value": "planted"}]}], "extra": 1}
    answer = (await send(api, json.dumps(body).encode())).json()
    assert [fault["pointer"] for fault in answer["errors"]] == ["#/question", "#/metrics/0/points/0/value", "#/extra"]
    assert "planted" not in json.dumps(answer)


async def test_a_declared_oversize_is_refused_unread(api: Any) -> None:
    """413 from the Content-Length alone, and the connection is closed."""
    answer = await send(api, b" " * (BODY_BYTES_MAX + 1))
    assert (answer.status_code, answer.json()["code"]) == (413, "payload-too-large")
    assert answer.headers["Connection"] == "close"


async def test_a_streamed_oversize_is_stopped_at_the_limit(api: Any) -> None:
    """Without a Content-Length the body is read to the limit and not further."""
    sent = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1_000):
            sent += 4_096
            yield b" " * 4_096

    answer = await api.client.post("/v1/insights", content=chunks(), headers=api.as_("app", **JSON))
    assert (answer.status_code, answer.json()["code"]) == (413, "payload-too-large")
    assert sent <= BODY_BYTES_MAX + 2 * 4_096


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json; charset=utf-16"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ],
)
async def test_another_media_type_is_refused(api: Any, headers: dict[str, str]) -> None:
    """415 says what to send."""
    answer = await api.client.post("/v1/insights", content=b'{"question": "x"}', headers=api.as_("app", **headers))
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported-media-type")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/insights/", 404),
        ("GET", "/v1/insights/..%2f..%2fetc", 404),
        ("GET", "/v1/insights/%00", 404),
        ("GET", "/v1/insights/ins_\u0661", 404),
        ("GET", "/v1/insights/" + "a" * 5_000, 404),
        ("GET", "/docs", 404),
        ("DELETE", "/v1/insights", 405),
        ("PUT", "/healthz", 405),
        ("BREW", "/healthz", 405),
    ],
)
async def test_a_wrong_address_or_method_is_a_problem(api: Any, method: str, path: str, status: int) -> None:
    """404 and 405 look like every other problem; 405 keeps its Allow header."""
    answer = await api.client.request(method, path, headers=api.as_("app"))
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert ("Allow" in answer.headers) == (status == 405)


WEIRD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.sampled_from(["2026-09", "tenant", "document", "0.1", "insights"]),
)
NESTED = st.recursive(WEIRD, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))
MEMBERS = {name: NESTED for name in Question.model_fields if name not in {"question", "stream"}}
LIKELY = st.fixed_dictionaries(
    {"question": st.text(min_size=1)},
    optional=MEMBERS
    | {
        "filters": st.dictionaries(
            st.sampled_from(["document", "title", "kind", "language", "date", "tenant", ""]),
            NESTED | st.fixed_dictionaries({}, optional={"gte": WEIRD, "lte": WEIRD}),
        ),
        "metrics": st.lists(
            st.fixed_dictionaries(
                {
                    "name": st.text(),
                    "points": st.lists(
                        st.fixed_dictionaries({"t": st.text(min_size=4), "value": st.floats() | st.integers()})
                    ),
                },
                optional={"unit": st.text()},
            ),
            max_size=2,
        ),
    },
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=st.one_of(LIKELY, NESTED))
async def test_no_body_causes_a_500(filled: Any, document: Any) -> None:
    """Whatever JSON a client sends is answered or refused, and every refusal has a code."""
    answer = await send(filled, json.dumps(document, allow_nan=True).encode())
    assert answer.status_code < 500, answer.text
    assert answer.status_code == 200 or answer.json()["code"]


@given(raw=st.binary(max_size=200))
def test_no_bytes_get_past_the_reader_unchecked(raw: bytes) -> None:
    """Arbitrary bytes are a question or an InvalidInput, nothing else."""
    with suppress(InvalidInput):
        assert isinstance(parse(raw, Question), BaseModel)
