"""What statuses, codes and broken connections mean, for every vendor alike."""

import httpx2
import pytest

from registry.messages import Usage
from serving.providers.base import (
    AuthenticationFailed,
    ContextTooLong,
    Garbled,
    ModelNotFound,
    Overloaded,
    ProviderError,
    RateLimited,
    Rejected,
    TimedOut,
    Unreachable,
)
from serving.providers.transport import (
    connection_error,
    http_client,
    identifier,
    is_loopback,
    vendor_error,
)

MEANINGS: dict[str, type[ProviderError]] = {"too_long": ContextTooLong}


@pytest.mark.parametrize(
    ("status", "words", "kind"),
    [
        (400, [], Rejected),
        (400, ["invalid", "too_long"], ContextTooLong),
        (401, [], AuthenticationFailed),
        (402, [], AuthenticationFailed),
        (403, [], AuthenticationFailed),
        (404, [], ModelNotFound),
        (301, [], ModelNotFound),
        (307, [], ModelNotFound),
        (405, [], ModelNotFound),
        (410, [], ModelNotFound),
        (421, [], ModelNotFound),
        (422, [], Rejected),
        (451, [], Rejected),
        (408, [], Overloaded),
        (409, [], Overloaded),
        (413, [], ContextTooLong),
        (418, [], Rejected),
        (429, [], RateLimited),
        (500, [], Overloaded),
        (504, [], Overloaded),
        (529, [], Overloaded),
        (None, ["unheard_of"], Overloaded),
        (None, ["too_long"], ContextTooLong),
    ],
)
def test_a_refusal_has_one_meaning(status: int | None, words: list[object], kind: type[ProviderError]) -> None:
    """A word that the vendor's table knows decides, else the status; inside a stream it is the vendor's failure."""
    assert type(vendor_error("v", words=words, meanings=MEANINGS, status=status)) is kind


@pytest.mark.parametrize(("status", "kind"), [(429, RateLimited), (503, Overloaded), (529, Overloaded)])
def test_headers_are_carried(status: int, kind: type[ProviderError]) -> None:
    """What the vendor says about waiting and asking again, and its id of the call, whatever the status."""
    headers = httpx2.Headers({"Retry-After": "7", "X-Should-Retry": "False", "Request-Id": "r1"})
    error = vendor_error("v", words=["busy"], meanings=MEANINGS, status=status, headers=headers)
    assert isinstance(error, kind)
    assert (error.retry_after_s, error.should_retry, error.request_id) == (7.0, False, "r1")
    assert str(error) == f"v answered {status} 'busy'"


@pytest.mark.parametrize("name", ["x" * 201, "a\x00b"])
def test_an_id_looks_like_one(name: str) -> None:
    """What would break a log is no id of a call, with an error as with an answer."""
    assert vendor_error("v", words=[], meanings=MEANINGS, headers={"x-request-id": name}).request_id is None


@pytest.mark.parametrize("word", ["Your prompt 'secret' is wrong", "sécret", "x" * 65, "a.b", ""])
def test_a_sentence_is_no_identifier(word: str) -> None:
    """Only what a code can look like is shown."""
    assert identifier(word) == "unreadable"
    assert identifier("rate_limit-2") == "rate_limit-2"


@pytest.mark.parametrize(
    ("cause", "kind", "usage"),
    [
        (httpx2.ConnectError("secret"), Unreachable, Usage()),
        (httpx2.ConnectTimeout("secret"), Unreachable, Usage()),
        (httpx2.ReadError("secret"), Unreachable, None),
        (httpx2.RemoteProtocolError("secret"), Unreachable, None),
        (httpx2.ReadTimeout("secret"), TimedOut, None),
        (TimeoutError("secret"), TimedOut, None),
        (Garbled("too long"), Garbled, None),
        (None, Unreachable, None),
    ],
)
def test_a_broken_connection_has_one_meaning(cause: object, kind: type[ProviderError], usage: Usage | None) -> None:
    """Where the vendor cannot have begun, nothing was used; else nobody knows."""
    error = connection_error("v", cause)
    assert (type(error), error.usage) == (kind, usage)
    assert "secret" not in str(error)


@pytest.mark.parametrize(
    ("url", "here"),
    [("http://127.0.0.1:1/v1", True), ("http://[::1]/", True), ("http://localhost/", True), ("https://a.com", False)],
)
def test_loopback_is_known(url: str, *, here: bool) -> None:
    """A proxy is kept out of the way of this machine only."""
    assert is_loopback(url) is here


async def test_the_client_follows_no_redirect() -> None:
    """A redirect would carry prompts elsewhere."""
    async with http_client("v", "https://a.com") as client:
        assert client.follow_redirects is False
        assert client.headers["accept-encoding"] == "identity"
