"""What goes to a language model and what comes back: the records that every room shares."""

import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import astuple, dataclass, field
from typing import Literal

from registry.errors import InvalidInput, JsonValue
from registry.insights import MetricSeries, Passage

Role = Literal["system", "user", "assistant"]
StopReason = Literal["end", "max_tokens", "stop_sequence", "refusal", "other"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str
    stable_chars: int = 0
    """How many leading characters are the same in every call of a prompt version: what a vendor may cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one or more attempts, in buckets that do not overlap (except `reasoning`).

    Raises:
        InvalidInput: a bucket is negative or no whole number.
    """

    input: int = 0
    """Prompt tokens billed at the full rate. Excludes cache reads and writes."""
    cache_read: int = 0
    """Prompt tokens served from the vendor's cache."""
    cache_write_5m: int = 0
    """Prompt tokens written to the vendor's cache with the short lifetime."""
    cache_write_1h: int = 0
    """Prompt tokens written to the vendor's cache with the long lifetime."""
    output: int = 0
    """Generated tokens, reasoning included."""
    reasoning: int = 0
    """The part of `output` that was reasoning; never added to a total."""

    def __post_init__(self) -> None:
        """Refuse what no vendor can have counted: it would make a price of its own."""
        counts: tuple[object, ...] = astuple(self)
        if any(not isinstance(count, int) or count < 0 for count in counts):
            raise InvalidInput(f"tokens are counted in whole numbers from 0, not {counts}")

    @property
    def prompt(self) -> int:
        """Tokens of the prompt, those of the vendor's cache included."""
        return self.input + self.cache_read + self.cache_write_5m + self.cache_write_1h

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            input=self.input + other.input,
            cache_read=self.cache_read + other.cache_read,
            cache_write_5m=self.cache_write_5m + other.cache_write_5m,
            cache_write_1h=self.cache_write_1h + other.cache_write_1h,
            output=self.output + other.output,
            reasoning=self.reasoning + other.reasoning,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """The data a request was rendered from, for providers that work on data rather than on wording."""

    question: str
    passages: tuple[Passage, ...] = ()
    metrics: tuple[MetricSeries, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One request to one model, however it ended: what a vendor may bill."""

    provider: str
    """Name of the provider in the chain."""
    model: str
    """The model that answered, as the vendor names it; the one that was asked for when none did."""
    asked_model: str
    """The model that was asked for, as configured."""
    usage: Usage = field(default_factory=Usage)
    estimated: bool = False
    """The vendor did not say what it counted; `usage` is our estimate."""
    outcome: str = "answered"
    """`answered`, `cancelled`, or the name of the provider error that it ended with."""
    seconds: float = 0.0
    """From asking to the end."""
    streamed: bool = False
    """The answer was asked for piece by piece."""
    first_byte_s: float | None = None
    """From asking until a streamed answer began, with text, shown or held back, or reasoning; None when none did."""
    request_id: str | None = None
    """The vendor's id of the call, for support cases."""


@dataclass(slots=True, kw_only=True)
class Progress:
    """What is known of an attempt while it runs: a vendor's door writes it, who ends the attempt early bills by it."""

    model: str | None = None
    """The model that answers, as the vendor names it; None until it says."""
    request_id: str | None = None
    """The vendor's id of the call; None until it says."""
    usage: Usage | None = None
    """What the vendor has counted so far; None until it says. Its output may lag behind what it wrote."""
    written_bytes: int = 0
    """Of the answer's text and the reasoning that have arrived, shown or held back, in UTF-8."""
    began: bool = False
    """The model is at work on the answer: a first piece of text, shown or held back, or of reasoning has arrived."""


def _nobody(_: Attempt) -> None:
    """For requests whose attempts nobody counts."""


def _unseen() -> None:
    """For requests whose beginning nobody waits for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionRequest:
    """One request to a language model, vendor-neutral."""

    messages: tuple[Message, ...]
    max_output_tokens: int
    """Hard cap on generated tokens, at least 1."""
    temperature: float | None = None
    """Sent only to vendors that take one."""
    output_schema: Mapping[str, JsonValue] | None = None
    """JSON Schema the answer has to satisfy; None asks for plain text."""
    parameters: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])
    """The prompt version's other model defaults (claims_max, score_min, ...)."""
    material: Material | None = None
    """What the messages were rendered from."""
    prompt: str = ""
    """`NAME/VERSION` that the messages were rendered from, for what people are told."""
    models: frozenset[tuple[str, str]] | None = None
    """(provider, model) pairs that may answer: those the prompt version was proven with; None: every one."""
    deadline: float = math.inf
    """When the answer has to be there, in seconds on the running event loop's clock (`loop.time()`)."""
    first_delta_deadline: float = math.inf
    """When a streamed answer has to begin (see `on_begin`), on the same clock: another provider stands ready."""
    on_attempt: Callable[[Attempt], None] = _nobody
    """Told of every attempt when it ends, also of a failed, cancelled or hedged one: what the caller is billed."""
    on_begin: Callable[[], None] = _unseen
    """Told once an attempt when a streamed answer begins: its first text, also one held back, or reasoning."""
    progress: Progress | None = None
    """Filled in while the one attempt runs that this request is for; None when nobody reads it."""

    def may_ask(self, provider: str, model: str) -> bool:
        """Whether this model was proven with the prompt version."""
        return self.models is None or (provider, model) in self.models

    @property
    def start_deadline(self) -> float:
        """Until when anything may be waited for before the answer begins."""
        return min(self.deadline, self.first_delta_deadline)


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One answer of a language model."""

    text: str
    """The raw text; a JSON document when an output schema was asked for."""
    stop_reason: StopReason
    usage: Usage
    provider: str
    """Name of the provider in the chain, e.g. `openai`."""
    model: str
    """The model that actually answered, as the vendor names it: often the asked one with a date."""
    asked_model: str = ""
    """The model that was asked for, as configured; the one that answered when nobody says."""
    request_id: str | None = None
    """The vendor's id of the call, for support cases."""
    usage_estimated: bool = False
    """The vendor reported no usage; `usage` is our estimate."""

    def __post_init__(self) -> None:
        """Without an asked model, the one that answered was asked."""
        if not self.asked_model:
            object.__setattr__(self, "asked_model", self.model)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """The next piece of a streamed answer."""

    text: str
    """Never empty."""


StreamEvent = Delta | Completion
"""A stream is any number of deltas, then one completion whose `text` is the deltas joined; or it ends with an error."""

Complete = Callable[[CompletionRequest], Awaitable[Completion]]
"""Ask a model, through whatever chain stands behind it. Raises provider errors (AssayError)."""

Stream = Callable[[CompletionRequest], AsyncGenerator[StreamEvent]]
"""Ask a model and get the answer as it is written. Close the generator when you stop reading: that ends the call."""
