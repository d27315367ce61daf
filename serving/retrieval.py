"""From a question to the passages that its prompt can carry."""

from collections.abc import Awaitable, Callable, Sequence

from registry.corpus.collection import Corpus
from registry.corpus.search import search
from registry.insights import Passage, Question
from registry.prompts.rendering import passage_chars
from registry.prompts.schema import PromptTemplate

Retrieve = Callable[[str, Question, PromptTemplate], Awaitable[tuple[Passage, ...]]]
"""(tenant, question, template) → the passages to show, best first."""


def retriever(corpus: Corpus) -> Retrieve:
    """Hybrid search in the tenant's corpus, packed into the prompt's room for passages."""

    async def retrieve(tenant: str, question: Question, template: PromptTemplate) -> tuple[Passage, ...]:
        found = await search(corpus, tenant, question.question, template.model.top_k, question.filters)
        return pack(found, room_chars(template))

    return retrieve


def room_chars(template: PromptTemplate) -> int:
    """Characters of passages that the template takes; 0 when it shows none."""
    return sum(variable.max_chars for variable in template.variables.values() if variable.type == "passages")


def pack(passages: Sequence[Passage], chars_max: int) -> tuple[Passage, ...]:
    """Take passages best first while they fit, each text once; one that does not fit leaves room for a shorter one."""
    packed: list[Passage] = []
    texts: set[str] = set()
    left = chars_max
    for passage in passages:
        needed = passage_chars(passage)
        if needed <= left and passage.text not in texts:
            packed.append(passage)
            texts.add(passage.text)
            left -= needed
    return tuple(packed)
