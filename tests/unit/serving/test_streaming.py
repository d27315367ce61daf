"""POST /v1/insights with `stream: true`, over the real object graph."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from fakes.fake_client import FakeClient
from fakes.fake_serving import FACT, PIECE_CHARS, prompt_version
from fakes.fake_writing import Writing

from serving.providers.base import Overloaded, Saturated, Unreachable

QUESTION = {"question": "What is the return rate?", "stream": True}


def client(api: Any, *, key: str | None = None, reads: int | None = None, **body: Any) -> FakeClient:
    """A client that asks for a stream."""
    headers = api.as_("app") | ({} if key is None else {"Idempotency-Key": key})
    return FakeClient(api.client._transport.app, "/v1/insights", QUESTION | body, headers, reads)


async def asked(api: Any, **more: Any) -> FakeClient:
    """A client that has its whole answer."""
    asking = client(api, **more)
    await asking.call()
    return asking


def outcome(api: Any) -> dict[str, Any]:
    """The last outcome in the audit log."""
    return [entry for entry in api.audit() if entry["phase"] == "outcome"][-1]


BEGUN = ('{"answer": "Nine ', "arrived")


class TestAnswer:
    """A stream that goes well."""

    async def test_the_events_come_in_order(self, filled: Any) -> None:
        """`meta`, the answer piece by piece, each claim, then the whole insight."""
        names = [name for name, _ in (await asked(filled)).events]
        assert names[0] == "meta"
        assert names[-2:] == ["claim", "done"]
        assert set(names[1:-2]) == {"delta"}
        assert len(names[1:-2]) > len(FACT) / PIECE_CHARS - 1

    async def test_done_is_the_stored_insight(self, filled: Any) -> None:
        """What `done` carries is what GET gives afterwards; the deltas are its answer and the claims its claims."""
        stream = await asked(filled)
        done = await stream.until("done")
        found = await filled.client.get(f"/v1/insights/{done['id']}", headers=filled.as_("app"))
        assert found.json() == done
        assert stream.answer == done["answer"] == FACT
        assert [data for name, data in stream.events if name == "claim"] == done["claims"]

    async def test_meta_says_what_is_known_before_a_model_is_asked(self, filled: Any) -> None:
        """Id, use case and prompt version; that a machine writes."""
        stream = await asked(filled)
        done = await stream.until("done")
        assert await stream.until("meta") == {
            "id": done["id"],
            "use_case": "insights",
            "prompt": done["prompt"],
            "ai_generated": True,
        }

    async def test_the_response_is_an_unbuffered_event_stream(self, filled: Any) -> None:
        """Its media type, and the header that keeps proxies from collecting it."""
        stream = await asked(filled)
        assert (stream.status, stream.ended) == (200, True)
        assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert stream.headers["x-accel-buffering"] == "no"
        assert "content-length" not in stream.headers

    async def test_a_stream_and_a_whole_answer_are_the_same_insight(self, filled: Any) -> None:
        """Answer, claims, usage and cost do not depend on how they were asked for."""
        whole = (await filled.ask()).json()
        streamed = await (await asked(filled)).until("done")
        own = {"id": None, "audit": None, "created_at": None}
        assert streamed | own == whole | own

    async def test_plain_text_streams_without_its_marks(self, filled: Any) -> None:
        """Under a prompt without a schema, citation marks are left out also when they come in pieces."""
        version = prompt_version(2)
        plain = version.template.model_copy(update={"output_schema": None})
        filled.prompts.versions["insights", "production"] = replace(version, template=plain)
        await filled.services.prompts.refresh()
        Writing(filled, "The rate was 7 percent [", "P1", "]. It ", "rose.")
        stream = await asked(filled)
        assert [data["text"] for name, data in stream.events if name == "delta"] == [
            "The rate was 7 percent",
            ". It",
            " rose.",
        ]
        assert stream.answer == (await stream.until("done"))["answer"]

    async def test_the_access_log_names_the_insight(self, filled: Any, caplog: pytest.LogCaptureFixture) -> None:
        """The line of a streamed request carries the insight's id, as that of a whole one does."""
        with caplog.at_level("INFO", logger="serving.access"):
            stream = await asked(filled)
        fields = caplog.records[-1].__dict__["fields"]
        assert fields["insight"] == (await stream.until("done"))["id"]

    async def test_an_answer_without_a_model_is_one_delta(self, api: Any) -> None:
        """A tenant without documents gets the same events, and no provider is asked."""
        stream = await asked(api)
        assert [name for name, _ in stream.events] == ["meta", "delta", "done"]
        assert "no documents" in stream.answer
        assert api.provider.requests == []

    async def test_an_answer_that_is_only_claims_is_one_delta(self, filled: Any) -> None:
        """What reads as an answer only when all is written comes at the end."""
        Writing(filled, '{"claims": [{"text": "Nine arrived."', "}]}")
        stream = await asked(filled)
        assert stream.answer == (await stream.until("done"))["answer"] == "Nine arrived."


class TestFailure:
    """Before the first event an ordinary problem, afterwards an `error` event."""

    @pytest.mark.parametrize(
        ("body", "status", "code"),
        [
            ({"use_case": "nothing-such"}, 404, "use-case-not-found"),
            ({"deadline_s": 0}, 422, "invalid-request"),
        ],
    )
    async def test_what_cannot_be_asked_is_an_ordinary_problem(
        self, filled: Any, body: Any, status: int, code: str
    ) -> None:
        """An early refusal has its status and its media type."""
        answer = await filled.ask(stream=True, **body)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert answer.headers["content-type"] == "application/problem+json"
        assert filled.provider.requests == []

    async def test_a_broken_log_stops_the_stream_before_its_first_byte(self, filled: Any) -> None:
        """Without a durable intent there is no stream."""
        filled.services.log.close()
        answer = await filled.ask(stream=True)
        assert (answer.status_code, answer.json()["code"]) == (503, "log-unavailable")

    async def test_no_byte_leaves_before_the_intent_is_durable(
        self, filled: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """While the log writes, the client has nothing, not even a status."""
        write, durable = filled.services.log.intent, asyncio.Event()
        begun = asyncio.Event()

        async def slow(*args: Any) -> int:
            begun.set()
            await durable.wait()
            return await write(*args)

        monkeypatch.setattr(filled.services.log, "intent", slow)
        stream = client(filled)
        call = asyncio.create_task(stream.call())
        await begun.wait()
        assert stream.status is None
        durable.set()
        await call
        assert stream.status == 200

    async def test_no_provider_is_an_error_event(self, filled: Any) -> None:
        """Behind `meta` comes the same problem that a whole answer would be; the outcome is failed."""

        async def fail(_request: Any) -> Any:
            raise Overloaded("scripted answered 529", should_retry=False)

        filled.provider.answer = fail
        stream = await asked(filled)
        problem = await stream.until("error")
        assert [name for name, _ in stream.events] == ["meta", "error"]
        assert (problem["status"], problem["code"]) == (503, "providers-unavailable")
        assert problem["tried"][0]["provider"] == "scripted"
        assert outcome(filled)["status"] == "failed"

    async def test_a_provider_that_breaks_off_is_an_error_event(self, filled: Any) -> None:
        """What was written stays written; the error ends the stream, and the attempt is on the bill."""
        Writing(filled, *BEGUN, error=Unreachable("scripted broke off"))
        stream = await asked(filled)
        assert stream.answer == "Nine arrived"
        assert (stream.events[-1][0], stream.events[-1][1]["code"]) == ("error", "providers-unavailable")
        body = outcome(filled)["body"]
        assert [(each["outcome"], each["estimated"]) for each in body["billed"]] == [("Unreachable", True)]
        assert body["usage"]["output"] > 0

    async def test_the_deadline_is_an_error_event(self, filled: Any) -> None:
        """A model that stalls in the middle is cut off at deadline_s."""
        writing = Writing(filled, *BEGUN, stalls=True)
        stream = await asked(filled, deadline_s=0.05)
        assert (stream.events[-1][0], stream.events[-1][1]["code"]) == ("error", "deadline-exceeded")
        assert outcome(filled)["status"] == "deadline-exceeded"
        assert writing.closed.is_set()

    async def test_a_bug_is_an_error_event_without_details(self, filled: Any) -> None:
        """An unexpected exception in the middle is `internal-error`, and says nothing of itself."""
        Writing(filled, *BEGUN, error=RuntimeError("planted-secret"))
        stream = await asked(filled)
        assert stream.events[-1][1]["code"] == "internal-error"
        assert "planted" not in str(stream.events[-1])

    async def test_too_many_requests_say_when_to_come_back(self, filled: Any) -> None:
        """Our own limit is `rate-limited`: a 429 with Retry-After, and the same in an event."""

        async def full(_request: Any) -> Any:
            raise Saturated("scripted has as many requests as it may have", retry_after_s=2.0)

        filled.provider.answer = full
        whole = await filled.ask()
        problem = await (await asked(filled)).until("error")
        assert (whole.status_code, whole.json()["code"], whole.headers["Retry-After"]) == (429, "rate-limited", "2")
        assert (problem["status"], problem["code"], problem["retry_after_s"]) == (429, "rate-limited", 2.0)


class TestHangUp:
    """A client that leaves, and one that reads slowly."""

    async def test_hanging_up_ends_the_call(self, filled: Any) -> None:
        """The model is stopped, the bill settled, the outcome `cancelled`."""
        writing = Writing(filled, *BEGUN, stalls=True)
        stream = client(filled)
        call = asyncio.create_task(stream.call())
        await stream.until("delta")
        stream.hang_up()
        await call
        body = outcome(filled)["body"]
        assert writing.closed.is_set()
        assert outcome(filled)["status"] == "cancelled"
        assert [(each["outcome"], each["estimated"]) for each in body["billed"]] == [("cancelled", True)]
        assert body["usage"]["input"] > 0

    async def test_a_stopping_server_ends_the_call(self, filled: Any) -> None:
        """When the request is cancelled from outside, the call leaves its outcome all the same."""
        writing = Writing(filled, *BEGUN, stalls=True)
        stream = client(filled)
        call = asyncio.create_task(stream.call())
        await stream.until("delta")
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert (writing.closed.is_set(), outcome(filled)["status"]) == (True, "cancelled")

    async def test_a_slow_reader_slows_the_model(self, filled: Any) -> None:
        """Nothing is read from the model that the client has not taken: no buffer fills."""
        writing = Writing(filled, '{"answer": "', *["word "] * 500)
        stream = client(filled, reads=4, deadline_s=0.05)
        call = asyncio.create_task(stream.call())
        await writing.closed.wait()
        assert writing.written < 10
        stream.hang_up()
        await call
        assert outcome(filled)["status"] == "deadline-exceeded"


class TestIdempotency:
    """`Idempotency-Key` on a stream."""

    async def test_a_replay_streams_the_stored_insight(self, filled: Any) -> None:
        """The second stream ends with the same insight, says that it is a replay, and asks no model."""
        first, second = await asked(filled, key="a"), await asked(filled, key="a")
        assert await second.until("done") == await first.until("done")
        assert [name for name, _ in second.events] == ["meta", "delta", "claim", "done"]
        assert second.answer == first.answer
        replayed = [stream.headers["idempotency-replayed"] for stream in (first, second)]
        assert replayed == ["false", "true"]
        assert len(filled.provider.requests) == 1

    async def test_hanging_up_leaves_the_key_free(self, filled: Any) -> None:
        """Who hung up may ask again under the same key."""
        quote = filled.provider.stream
        Writing(filled, *BEGUN, stalls=True)
        stream = client(filled, key="a")
        call = asyncio.create_task(stream.call())
        await stream.until("delta")
        stream.hang_up()
        await call
        filled.provider.stream = quote
        assert (await asked(filled, key="a")).headers["idempotency-replayed"] == "false"
