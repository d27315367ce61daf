"""One call, from a question to a sealed insight: `Insights.answer` is its table of contents.

A refusal, a failure and a cancellation leave their outcome in the audit log as an answer does.
"""

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial

from registry.audit.log import commitment
from registry.errors import AssayError, InvalidInput, JsonValue
from registry.insight_records import InsightRecords
from registry.insights import Insight, Passage, ProviderRef, Question, UsageRecord
from registry.messages import Complete, Completion, CompletionRequest, Material, Stream, Usage
from registry.money.prices import Price, cost_nano_usd, format_usd, parse_usd
from registry.prompts.policy import Policy, UseCaseNotFound
from registry.prompts.rendering import Value, call_key, render
from registry.prompts.versions import PromotedVersion
from registry.tenants import Principal
from serving.active_prompt import ActivePrompts
from serving.arms import Arms
from serving.asking import Asking, Begun, Tell
from serving.budget_gate import BudgetGate
from serving.call_log import Call, CallLog, OpenCall, messages_commitment, to_the_end
from serving.grounding import Grounded, ground
from serving.metrics import Metrics
from serving.retrieval import Retrieve
from serving.second_lock import Served
from serving.spending import Spending
from serving.time_limit import last_word_before, until

NO_DOCUMENTS = "This tenant has no documents yet, so there is nothing to answer from."
NO_MATCH = "None of this tenant's documents match the filters, so there is nothing to answer from."
NOBODY = "none"
"""Provider and model of an answer that no model wrote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An answer that is not in the record yet."""

    served: Served
    passages: Sequence[Passage]
    request: CompletionRequest | None
    completion: Completion
    grounded: Grounded


class Insights:
    """Answers questions: cited, priced, sealed."""

    def __init__(
        self,
        *,
        policies: Mapping[str, Policy],
        prompts: ActivePrompts,
        arms: Arms,
        retrieve: Retrieve,
        complete: Complete,
        stream: Stream,
        gate: BudgetGate,
        calls: CallLog,
        records: InsightRecords,
        metrics: Metrics,
        delimiter_secret: bytes,
        deadline_s: float,
        price: Price = cost_nano_usd,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] = lambda: f"ins_{uuid.uuid4().hex}",
    ) -> None:
        self._policies = policies
        self._prompts = prompts
        self._arms = arms
        self._retrieve = retrieve
        self._asking = Asking(complete, stream, metrics, price, clock)
        self._gate = gate
        self._calls = calls
        self._records = records
        self._metrics = metrics
        self._delimiter_secret = delimiter_secret
        self._deadline_s = deadline_s
        self._clock = clock
        self._new_id = new_id

    async def answer(
        self,
        question: Question,
        caller: Principal,
        *,
        tenant: str | None = None,
        billed_to: str = "tenant",
        prompt: PromotedVersion | None = None,
        tell: Tell | None = None,
    ) -> Insight:
        """Answer a question from the tenant's documents and the metrics passed with it.

        Args:
            question: what is asked.
            caller: who asks; a platform key must name the `tenant`.
            tenant: whose documents; never another one than the caller's.
            billed_to: who pays; only `flows.wiring` sets it.
            prompt: a version to use instead of the promoted one, for evaluation.
            tell: given the answer piece by piece while a model writes it.

        Raises:
            AssayError: refused, or something needed is down; the audit log has the outcome either way.
        """
        whose = _tenant_of(caller, tenant)
        call = Call(id=self._new_id(), question=question, caller=caller, tenant=whose, billed_to=billed_to)
        seconds = question.deadline_s or self._deadline_s
        deadline = asyncio.get_running_loop().time() + seconds  # the intent's writing counts
        last_word = last_word_before(deadline, seconds)
        async with self._calls.entry(call) as entry:
            async with until(deadline, last_word, seconds):
                served = self._choose(call, prompt)
                with self._metrics.stage("retrieve"):
                    passages = await self._retrieve(call.tenant, question, served.version.template)
                if not passages and not question.metrics:
                    draft, spent = self._nothing_to_go_on(call, served), Spending()
                else:
                    request = self._render(call, served, passages, last_word)
                    if tell is not None:
                        await tell(Begun(id=call.id, use_case=question.use_case, prompt=served.reference))
                    with self._metrics.stage("complete"):
                        completion, spent = await self._asking.ask(entry, request, tell)
                    with self._metrics.stage("ground"):
                        draft = _check(call, served, passages, request, completion)
            with self._metrics.stage("seal"):
                took_s = asyncio.get_running_loop().time() - (deadline - seconds)
                return await to_the_end(self._seal(entry, call, draft, spent, took_s))

    async def look_up(self, insight_id: str, caller: Principal, *, tenant: str | None) -> Insight:
        """A stored insight as it stands now; who read it goes into the audit log.

        Args:
            insight_id: its id.
            caller: who reads.
            tenant: whose insight it has to be; None lets a platform key read any.

        Raises:
            InsightNotFound: there is none, or not for this tenant.
            LogUnavailable: the reading cannot be logged.
        """
        insight = await asyncio.to_thread(self._records.get, insight_id, tenant)
        await self._calls.note_read(insight_id, caller)
        return insight

    def _choose(self, call: Call, pinned: PromotedVersion | None) -> Served:
        policy = self._policies.get(call.question.use_case)
        if policy is None or (policy.tenants is not None and call.tenant not in policy.tenants):
            raise UseCaseNotFound(f"there is no use case {call.question.use_case!r} for this tenant")
        if pinned:
            return Served(version=pinned)
        return self._arms.choose(self._prompts.current(policy.prompt, policy.alias), call)

    def _nothing_to_go_on(self, call: Call, served: Served) -> Draft:
        """Without a passage or a metric no model is asked: it could only make something up."""
        text = NO_MATCH if call.question.filters else NO_DOCUMENTS
        return Draft(
            served=served,
            passages=(),
            request=None,
            completion=Completion(text=text, stop_reason="end", usage=Usage(), provider=NOBODY, model=NOBODY),
            grounded=Grounded(answer=text, claims=[], abstained=True),
        )

    def _render(self, call: Call, served: Served, passages: Sequence[Passage], deadline: float) -> CompletionRequest:
        template, question = served.version.template, call.question
        supplied: dict[str, Value] = {
            "question": question.question,
            "passages": passages,
            "metrics": question.metrics,
            "today": datetime.fromtimestamp(self._clock(), UTC).date(),
        }
        values = {name: value for name, value in supplied.items() if name in template.variables}
        request = CompletionRequest(
            messages=render(template, values, call_key(self._delimiter_secret, call.id)),
            max_output_tokens=template.model.max_output_tokens,
            temperature=template.model.temperature,
            output_schema=template.output_schema,
            parameters=template.model.model_dump(),
            material=Material(question=question.question, passages=tuple(passages), metrics=tuple(question.metrics)),
            prompt=f"{served.version.name}/{served.version.version}",
            models=served.models,
            deadline=deadline,
        )
        limit = None if question.max_cost_usd is None else parse_usd(question.max_cost_usd)
        return self._gate.admit(request, limit)

    async def _seal(self, entry: OpenCall, call: Call, draft: Draft, spent: Spending, took_s: float) -> Insight:
        """Write the outcome, then the record that carries its position."""
        position = await entry.close("served", _outcome_body(call, draft, spent))
        completion = draft.completion
        insight = Insight(
            id=call.id,
            use_case=call.question.use_case,
            status="served",
            answer=draft.grounded.answer,
            claims=draft.grounded.claims,
            passages=list(draft.passages),
            abstained=draft.grounded.abstained,
            prompt=draft.served.reference,
            provider=ProviderRef(
                name=completion.provider,
                model=completion.model,
                asked_model=completion.asked_model,
                attempts=len(spent.attempts),
            ),
            usage=UsageRecord(**asdict(spent.usage)),
            cost_usd=format_usd(spent.cost_nano_usd),
            audit=position,
            created_at=datetime.fromtimestamp(self._clock(), UTC),
        )
        try:
            keep = partial(self._records.save, seconds=took_s, unit=draft.served.unit)
            await asyncio.to_thread(keep, insight, call.tenant, call.billed_to, call.question, call.salt)
        except Exception as error:  # corrected in the log and raised on
            # Whatever kept the record from being stored, the log must not go on saying that it was served.
            await entry.correct(error.code if isinstance(error, AssayError) else "internal-error")
            raise
        for claim in insight.claims or ():
            self._metrics.claims.labels(insight.use_case, str(claim.grounded).lower()).inc()
        return insight


def _check(
    call: Call,
    served: Served,
    passages: Sequence[Passage],
    request: CompletionRequest,
    completion: Completion,
) -> Draft:
    grounded = ground(completion.text, passages, call.question.metrics, served.version.template.output_schema)
    return Draft(served=served, passages=passages, request=request, completion=completion, grounded=grounded)


def _tenant_of(caller: Principal, named: str | None) -> str:
    tenant = caller.tenant or named
    if tenant is None:
        raise InvalidInput("a platform key has no tenant of its own; name one")
    assert named in {None, tenant}, "access lets no tenant key name another tenant"  # noqa: S101 - only a bug
    return tenant


def _outcome_body(call: Call, draft: Draft, spent: Spending) -> dict[str, JsonValue]:
    """Ids, hashes and commitments of an answer."""
    completion = draft.completion
    sent = [message.content for message in draft.request.messages] if draft.request else []
    return {
        "prompt": {
            **draft.served.reference.model_dump(exclude_none=True, exclude={"alias"}),
            "content_hash": draft.served.version.content_hash,
            "promotion": draft.served.promotion,
        },
        "provider": completion.provider,
        "model": completion.model,
        "asked_model": completion.asked_model,
        "attempts": len(spent.attempts),
        "vendor_request": completion.request_id,
        **spent.audited(),
        "passages": [passage.id for passage in draft.passages],
        "messages": messages_commitment(sent, call.salt),
        "completion": commitment(completion.text, call.salt),
        "answer": commitment(draft.grounded.answer, call.salt),
        "abstained": draft.grounded.abstained,
    }
