"""An insight as server-sent events: `meta`, `delta`s, `claim`s, then `done` with the whole; or `error` with a problem.

The call runs in a task of its own beside the one that listens for the client: who hangs up ends the call. Until the
first event nothing is sent, not even a status, so that an early failure stays an ordinary problem. Each piece is sent
before the next one is read from the model: a slow reader slows the call, and fills nobody's memory.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from registry.errors import AssayError
from registry.insights import Insight
from registry.messages import Delta
from serving.asking import Begun, Tell
from serving.problems import code_of, problem_document

logger = logging.getLogger(__name__)

MEDIA_TYPE = "text/event-stream"
KEEP_ALIVE_S = 10.0
"""A quiet stream sends a comment this often; proxies cut lines that are quiet for 30 s and more."""
INTERNAL_ERROR = "something broke on our side; quote the request_id when you report it"

Work = Callable[[Tell], Awaitable[tuple[Insight, bool]]]
"""Answers a question and tells its progress; gives the insight, and whether it was there before."""


class EventStream(Response):
    """The response that does the work while it is sent.

    Args:
        work: makes the insight.
        replayed_header: names the header that tells whether the insight was there before; None leaves it out.
        keep_alive_s: the longest silence, in seconds.
    """

    media_type = MEDIA_TYPE

    def __init__(self, work: Work, replayed_header: str | None = None, keep_alive_s: float = KEEP_ALIVE_S) -> None:
        super().__init__(headers={"X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._work = work
        self._replayed_header = replayed_header
        self._keep_alive_s = keep_alive_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Do the work, send what it tells.

        Raises:
            AssayError: the work failed before the first event.
        """
        events = _Events(send, self._opening(scope))
        working = asyncio.create_task(self._run(events))
        gone = asyncio.create_task(_hung_up(receive))
        try:
            while not (working.done() or gone.done()):
                silence_s = max(self._keep_alive_s - events.silent_s(), 0)
                await asyncio.wait({working, gone}, timeout=silence_s, return_when=asyncio.FIRST_COMPLETED)
                if events.silent_s() >= self._keep_alive_s:
                    await events.keep_alive()
        finally:
            # Neither outlives the request, whether the client, the middleware or a stopping server ends it.
            working.cancel()
            gone.cancel()
            await asyncio.gather(working, gone, return_exceptions=True)
        if not working.cancelled():
            working.result()

    def _opening(self, scope: Scope) -> "Opening":
        """What goes out with the first event; the access log gets the insight's id."""

        def opening(insight_id: str, *, replayed: bool) -> MutableMapping[str, Any]:
            scope.setdefault("state", {})["insight"] = insight_id
            if self._replayed_header is not None:
                self.headers[self._replayed_header] = str(replayed).lower()
            return {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}

        return opening

    async def _run(self, events: "_Events") -> None:
        try:
            insight, replayed = await self._work(events.tell)
            await events.finish(insight, replayed=replayed)
        except AssayError as error:
            if not events.started:
                raise
            await events.fail(problem_document(code_of(error), error.message, **error.details))
        except Exception:  # the rim, as in the middleware: a bug becomes a logged problem
            if not events.started:
                raise
            logger.exception("unexpected error in a stream")
            await events.fail(problem_document("internal-error", INTERNAL_ERROR))


class Opening(Protocol):
    """Makes the message that opens the response."""

    def __call__(self, insight_id: str, *, replayed: bool) -> MutableMapping[str, Any]:
        """For the insight of this id, that was there before or not."""
        ...


class _Events:
    """Writes events, one at a time."""

    def __init__(self, send: Send, opening: Opening) -> None:
        self._send = send
        self._opening = opening
        self._clock = asyncio.get_running_loop().time
        self._wrote_at = self._clock()
        self._writing = asyncio.Lock()
        self._over = False
        self._has_text = False
        self.started = False

    def silent_s(self) -> float:
        """Seconds since something was written."""
        return self._clock() - self._wrote_at

    async def tell(self, news: Begun | Delta) -> None:
        if isinstance(news, Delta):
            self._has_text = True
            await self._write(_event("delta", {"text": news.text}))
        else:
            await self._begin(news, replayed=False)

    async def finish(self, insight: Insight, *, replayed: bool) -> None:
        """What is left to tell of a sealed insight; all of it when no model was asked."""
        if not self.started:
            await self._begin(Begun(id=insight.id, use_case=insight.use_case, prompt=insight.prompt), replayed=replayed)
        parts: list[bytes] = []
        if insight.answer and not self._has_text:
            parts.append(_event("delta", {"text": insight.answer}))
        parts += [_encoded("claim", claim.model_dump_json().encode()) for claim in insight.claims or ()]
        parts.append(_encoded("done", insight.model_dump_json().encode()))
        await self._write(b"".join(parts), over=True)

    async def fail(self, problem: dict[str, Any]) -> None:
        await self._write(_event("error", problem), over=True)

    async def keep_alive(self) -> None:
        """Break a silence; nothing where no event came yet, and where the reader has not taken the last one."""
        self._wrote_at = self._clock()
        if self.started and not self._writing.locked():
            await self._write(b": keep-alive\n\n")

    async def _begin(self, begun: Begun, *, replayed: bool) -> None:
        self.started = True
        await self._send(self._opening(begun.id, replayed=replayed))
        known = {"id": begun.id, "use_case": begun.use_case, "prompt": begun.prompt.model_dump(), "ai_generated": True}
        await self._write(_event("meta", known))

    async def _write(self, body: bytes, *, over: bool = False) -> None:
        async with self._writing:
            if self._over:
                return
            self._over = over
            await self._send({"type": "http.response.body", "body": body, "more_body": not over})
            self._wrote_at = self._clock()


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _event(name: str, data: dict[str, Any]) -> bytes:
    return _encoded(name, orjson.dumps(data))


def _encoded(name: str, data: bytes) -> bytes:
    """One event; JSON has no line ends, so one data line holds it."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)
