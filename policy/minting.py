r"""Writes tests from records: what happened once is expected to happen again.

How tests are run is `testing.py`; facts come from `api/evidence.py`. INVARIANT: each test that is written
passes on the plan that it was minted with, and text of a guest stands in it only between quotes and escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from policy.answer import answer
from policy.calls import CALL_CODES, CALLS
from policy.decisions import Allow, Deny, UnknownCallError, WouldDeny
from policy.errors import shown
from policy.facts import Fact
from policy.plan import RIGHTS, Plan, Right
from policy.question import Question
from policy.simulate.judge import question_of

_MOST_BYTES: Final = 900_000  # a document has at most 1 MiB
_WORDS: Final[dict[type[object], str]] = {Allow: "allow", Deny: "deny", WouldDeny: "would_deny"}
_NAME_CHARS: Final = 80


@dataclass(frozen=True, slots=True)
class Minted:
    """A document of kind PolicyTest, and what became of the facts."""

    text: str
    tests: int
    left_out: int  # facts that a plan alone does not decide, or that no document can hold


def mint(plan: Plan, facts: Iterable[Fact], *, source: str) -> Minted:
    """Write a test for each distinct call among `facts`; `source` says where they come from.

    A fact that the plan does not decide as recorded is left out: it was refused for what only a running guest
    shows, such as a link on the way, or it was made with another plan.
    """
    name, about = _quoted(f"{plan.name}-minted"[:64]), _quoted(f"from {source}")
    lines = [
        "version: 1",
        "kind: PolicyTest",
        f"metadata: {{name: {name}, description: {about}}}",
        f"policy: {_quoted(plan.name)}",
        "tests:",
    ]
    size, left_out = 0, 0
    seen: set[Question] = set()
    for fact in facts:
        is_known = fact.call in CALL_CODES and CALLS[CALL_CODES[fact.call]].capability != "network"
        if is_known and not fact.is_masked and question_of(fact) is None:
            continue  # nothing in a policy decides it
        found = _test(plan, fact)
        if found is None or size > _MOST_BYTES:
            left_out += 1
            continue
        question, text = found
        if question not in seen:
            seen.add(question)
            lines.append(text)
            size += len(text.encode()) + 1
    if left_out:
        lines.append(f"# left out: {left_out} facts that a plan alone does not decide as they were recorded")
    return Minted("\n".join(lines) + "\n", len(seen), left_out)


def _test(plan: Plan, fact: Fact) -> tuple[Question, str] | None:
    if fact.call not in CALL_CODES or fact.is_masked:
        return None
    question = question_of(fact)
    if question is None:
        return None
    if question.call == "path_open" and question.wants == Right(0):
        # to open what is only looked at is decided like asking about it, which a test can say
        question = replace(question, call="path_filestat_get", wants=None)
    try:
        decision = answer(plan, question)
    except UnknownCallError:
        return None
    word = _WORDS[type(decision)]
    texts = (question.target, question.target2)
    if word != fact.decision or not all(_is_text(text) for text in texts):
        return None
    rule = f", rule: {_quoted(fact.rule)}" if fact.rule and fact.rule == decision.rule_id else ""
    given = ", ".join(_given(question))
    name = _quoted(" ".join(_name(question)))
    evidence = f"{fact.count} in {shown(fact.evidence)}"
    return question, f"  - {{name: {name}, given: {{{given}}}, expect: {word}{rule}}}  # {evidence}"


def _name(question: Question) -> Iterator[str]:
    yield question.call
    if question.wants:
        yield "to " + ", ".join(_access(question.wants))
    for text in (question.target, question.target2):
        if text is not None:
            yield text if len(text) <= _NAME_CHARS else f"{text[:_NAME_CHARS]}…"


def _given(question: Question) -> Iterator[str]:
    yield f"call: {question.call}"
    if question.target is not None:
        key = "uri" if "://" in question.target else "target"
        yield f"{key}: {_quoted(question.target)}"
    if question.target2 is not None:
        yield f"target2: {_quoted(question.target2)}"
    if question.wants:
        yield f"access: [{', '.join(_access(question.wants))}]"


def _access(rights: Right) -> tuple[str, ...]:
    return tuple(str(right.name).lower() for right in RIGHTS if right & rights)


def _is_text(text: str | None) -> bool:
    """Whether a document can hold it: bytes that are no UTF-8 have no spelling there, and NUL is refused."""
    return text is None or not any(char == "\0" or "\ud800" <= char <= "\udfff" for char in text)


def _quoted(text: str) -> str:
    """A YAML string in double quotes, in printable ASCII."""
    return '"' + "".join(_escaped(char) for char in text) + '"'


def _escaped(char: str) -> str:
    code = ord(char)
    if char in {'"', "\\"}:
        return f"\\{char}"
    if 0x20 <= code < 0x7F:  # what ASCII prints
        return char
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
