"""What the prompts of a random sequence say, and what their policies ask for."""

from registry.prompts.approvals import APPROVAL
from registry.prompts.policy import Policy, Requirement
from registry.prompts.schema import ModelParameters, PromptTemplate, Variable, content_hash
from registry_actions.sequences import APPROVERS, BROKEN, CONTENTS

IS_PROMPT = {"key": "mlflow.prompt.is_prompt", "value": "true"}
ROWS = {1: "1" * 64, 2: "2" * 64}
"""Hashes of the rows that a data set may have."""


def policy(
    prompt: str, data: str | None = None, rows: int | None = None, questions: int = 1, margin: float = 0.05
) -> Policy:
    """A policy of a prompt: lint, an evaluation on such data, and where its name says so an approval."""
    pinned = None if rows is None else ROWS[rows]
    measured = Requirement(
        kind="evaluation",
        max_age_days=30,
        dataset=data,
        dataset_sha256=pinned,
        questions_min=questions,
        margin=margin,
    )
    approvers = APPROVERS[prompt]
    said = [Requirement(kind=APPROVAL, approvers=approvers)] if approvers else []
    return Policy(use_case=prompt, prompt=prompt, requires=(Requirement(kind="lint"), measured, *said))


def template(prompt: str, content: int) -> PromptTemplate:
    """A content of a prompt; two prompts share none."""
    spoiled = " {% now %}" if content in BROKEN else ""
    return PromptTemplate(
        name=prompt,
        use_case=prompt,
        owner="tests",
        template=f"Way {content}: answer from <data>{{{{passages}}}}</data>.{spoiled} {{{{question}}}}",
        variables={"question": Variable(max_chars=100), "passages": Variable(type="passages", max_chars=1000)},
        model=ModelParameters(max_output_tokens=300),
    )


TEMPLATES = {(prompt, content): template(prompt, content) for prompt in APPROVERS for content in range(CONTENTS)}
HASHES = {place: content_hash(found) for place, found in TEMPLATES.items()}
CONTENT_OF = {digest: content for (_, content), digest in HASHES.items()}


def text(prompt: str, content: int) -> str:
    """The wording alone."""
    return str(TEMPLATES[prompt, content].template)
