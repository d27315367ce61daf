"""When a passed evaluation counts: on all rows, at the policy's margin, and with no FAIL that still stands."""

from collections.abc import Iterator

from registry.prompts.approvals import APPROVAL, APPROVERS_OF_UNKNOWN, newest_words, person, said_by
from registry.prompts.case import Case, evidence_of, reason_of
from registry.prompts.evidence import AGAINST, EVIDENCE_MAX, Evidence
from registry.prompts.policy import Requirement
from registry.prompts.promotion_records import ServingModel

EVALUATION = "evaluation"
QUESTIONS = "questions"
"""Detail: how many questions were scored."""
MARGIN = "margin"
"""Detail: the drop that the comparison tolerated; None: nothing was compared."""
DATASET_SHA256 = "dataset_sha256"
"""Detail: which rows were asked."""
TENANT = "tenant"
"""Detail: for whom alone rows were asked; None: every row of the split was, for the tenant that it names."""
ID = "evaluation"
"""Detail: id of the evaluation; one that was resumed keeps it."""


def newest_evaluation(requirement: Requirement, case: Case, model: ServingModel) -> Evidence | None:
    """The newest that counts of the content with this model, on the data that the policy names."""
    return next(_heard(requirement, case, model), None)


def missed(requirement: Requirement, case: Case, model: ServingModel, what: str) -> str:
    """What is missing where no evaluation counts; it names one that asked a part of the rows."""
    for found in _on_data(requirement, case, model):
        if is_part(found):
            return f"no {what} of all rows: the newest asked for tenant {found.details[TENANT]!r} alone"
    return f"no {what} for this content"


def is_part(found: Evidence) -> bool:
    """Whether only a part of the rows was asked, which whoever measured chose."""
    return found.details.get(TENANT) is not None


def data_of(found: Evidence) -> str:
    """What was asked, for people: the dataset, and whose rows if only some."""
    return f"{found.dataset}, tenant {found.details[TENANT]!r} alone" if is_part(found) else f"{found.dataset}"


def is_ruling(found: Evidence) -> bool:
    """Whether it rules on the content: FAIL does, and a PASS on all rows."""
    return found.verdict == "FAIL" or (found.verdict == "PASS" and not is_part(found))


def compared(case: Case, found: Evidence) -> bool:
    """Whether it compared with what was last proven, or nothing has to be compared."""
    production = case.production
    if production is None or production.content_hash == case.version.content_hash:
        return True
    return found.details.get(AGAINST) == production.content_hash


def outgrown(requirement: Requirement, case: Case, found: Evidence, what: str) -> Iterator[str]:
    """What a passed evaluation lacks for the policy as it stands now; evaluating anew helps."""
    stored = found.details.get(QUESTIONS)
    asked = stored if isinstance(stored, int) and not isinstance(stored, bool) else None
    if requirement.questions_min > 1 and (asked is None or asked < requirement.questions_min):
        scored = "nobody knows how many questions" if asked is None else f"{asked} questions"
        yield f"the newest {what} scored {scored}, and the policy asks for {requirement.questions_min}"
    margin = found.details.get(MARGIN)
    if isinstance(margin, int | float) and not margin <= requirement.margin:
        yield (
            f"the newest {what} was measured with margin {margin:g}, the policy now asks for {requirement.margin:g}; "
            "evaluate anew"
        )
    if case.production is not None and not compared(case, found):
        against = f"{case.version.name}/{case.production.version}"
        yield f"the newest {what} did not compare with {against}, which was last promoted on evidence"


def contradicted(requirement: Requirement, case: Case, model: ServingModel, what: str) -> Iterator[str]:
    """Every FAIL that still stands: the newest on some dataset, or one that was only measured again until it passed.

    Where the policy names a dataset, only evaluations on it are heard.
    """
    failed = sum(each.kind == EVALUATION and each.verdict == "FAIL" for each in case.evidence)
    if failed >= EVIDENCE_MAX:
        yield f"{failed} evaluations or more say FAIL, and no more are looked at; improve the prompt and push it again"
    heard = [each for each in _heard(requirement, case, model) if is_ruling(each)]
    newest: dict[str | None, Evidence] = {}
    for each in heard:
        newest.setdefault(each.dataset, each)
    about = case.version
    for dataset, ruling in newest.items():
        if ruling.verdict == "FAIL":
            yield (
                f"the newest {what} on dataset {dataset!r} says FAIL{reason_of(ruling)}; improve the prompt and push "
                "it again, or let the policy name the dataset that counts"
            )
        elif any(_stands(failure, ruling, case) for failure in heard):
            people = "somebody who did not write it" if case.authors.complete else "two people"
            yield (
                f"an earlier {what} on dataset {dataset!r} says FAIL, and measuring again does not undo it; "
                f"improve the prompt and push it again, or have {people} read it and then run "
                f"`assay prompts approve {about.name} {about.version} --reason WHY`"
            )


def _heard(requirement: Requirement, case: Case, model: ServingModel) -> Iterator[Evidence]:
    """Those on all rows; of a part only a FAIL, and that not where the policy says which rows count."""
    pinned = requirement.dataset_sha256 is not None
    return (
        found
        for found in _on_data(requirement, case, model)
        if not is_part(found) or (found.verdict == "FAIL" and not pinned)
    )


def _on_data(requirement: Requirement, case: Case, model: ServingModel) -> Iterator[Evidence]:
    for found in evidence_of(case, EVALUATION, model):
        right_name = requirement.dataset in {None, found.dataset}
        if right_name and requirement.dataset_sha256 in (None, found.details.get(DATASET_SHA256)):
            yield found


def _stands(failure: Evidence, ruling: Evidence, case: Case) -> bool:
    """Whether a FAIL outweighs the PASS that rules on its dataset: it was not resumed, and nobody approved since.

    Whatever the rows and the opponent: who measures may change both, the opponent by a rollback, which needs nothing
    more. It takes somebody else's word, or other rows that the policy names by their hash.
    """
    if failure.verdict != "FAIL" or failure.dataset != ruling.dataset or _was_resumed(failure, ruling):
        return False
    wrote = {person(author) for author in case.authors.known}
    approved = [
        word
        for word in newest_words(APPROVAL, case.evidence)
        if word.verdict == "PASS" and person(said_by(word)) not in wrote and word.created_ms > failure.created_ms
    ]
    return len(approved) < (1 if case.authors.complete else APPROVERS_OF_UNKNOWN)


def _was_resumed(failure: Evidence, ruling: Evidence) -> bool:
    """Whether the PASS is the same evaluation, gone on with where the FAIL had left questions."""
    names = (ID, DATASET_SHA256, TENANT, AGAINST)
    same = [failure.details.get(name) for name in names] == [ruling.details.get(name) for name in names]
    before, after = failure.details.get(QUESTIONS), ruling.details.get(QUESTIONS)
    more = isinstance(before, int) and isinstance(after, int) and before < after
    return same and more and failure.details.get(ID) is not None
