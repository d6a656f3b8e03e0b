"""A difference for people and scripts: lines with `+`, `-`, `~`, `<` and `>`, or plain JSON values.

What the differences are is found beside this file. INVARIANT: the first line is the verdict, and every text
of a document comes out printable.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from policy.diff.change import Change, Difference, Direction, RuleRef
from policy.errors import printable
from policy.plan import RIGHTS, Right

if TYPE_CHECKING:
    from policy.digest import Json
    from policy.question import Question

_SIGNS = {
    Direction.WIDER: "+",
    Direction.NARROWER: "-",
    Direction.CHANGED: "~",
    Direction.WEAKER: "<",
    Direction.STRONGER: ">",
}


def render_difference(difference: Difference) -> str:
    """The verdict, then each change with its rules and its witness, then the notes."""
    lines = [verdict_line(difference)]
    for change in difference.items:
        lines.append(f"{_SIGNS[change.direction]} {change.area}: {change.what}")
        lines += _rules(change)
        if change.answer_a or change.answer_b:
            lines.append(f"    A: {change.answer_a}, B: {change.answer_b}{_asked(change)}")
    lines += [f"note: {note}" for note in difference.notes]
    return "\n".join(printable(line) for line in lines) + "\n"


def verdict_line(difference: Difference) -> str:
    """Which plan allows more, and in how many ways."""
    counts = {each: sum(item.direction is each for item in difference.items) for each in Direction}
    wider, narrower, changed, weaker, stronger = (counts[each] for each in Direction)
    if not difference.items:
        return "A and B decide alike"
    parts: list[str] = []
    if wider:
        parts.append(f"B allows more than A: {_count(wider)}")
    if changed:
        parts.append(f"B is neither wider nor narrower: {_count(changed)}")
    if narrower:
        parts.append(f"B allows less than A: {_count(narrower)}")
    if weaker:
        parts.append(f"B keeps a weaker trail than A: {_count(weaker)}")
    if stronger:
        parts.append(f"B keeps a stronger trail than A: {_count(stronger)}")
    return "; ".join(parts)


def _count(number: int) -> str:
    return f"{number} difference" + ("" if number == 1 else "s")


def _rules(change: Change) -> list[str]:
    lines: list[str] = []
    for plan, rule in (("A", change.rule_a), ("B", change.rule_b)):
        if rule is not None:
            field = f" ({rule.field})" if rule.field else ""
            lines.append(f"    rule of {plan}: {rule.id}{field}: {rule.summary}")
    return lines


def _asked(change: Change) -> str:
    return "" if change.witness is None else f"; ask: {question_line(change.witness)}"


def question_line(question: Question) -> str:
    """The options of `wasmgate policy explain` that ask `question`."""
    words = [f"--call {question.call}"]
    for name in ("target", "target2", "host", "address", "port", "method", "url", "digest"):
        value = getattr(question, name)
        if value is not None:
            words.append(f"--{name} {_word(str(value))}")
    if question.call in {"connect", "bind", "listen"}:
        words.append(f"--protocol {question.protocol}")
    words += [f"--access {name}" for name in rights_of(question.wants)]
    words += [f"--after {_word(name)}" for name in question.after]
    return " ".join(words)


def _word(text: str) -> str:
    """`text` as a shell takes it; what can't be typed is escaped in the way of `$'…'`."""
    if text and all(char.isalnum() or char in "/._-:@%+=,*?" for char in text) and not set(text) & set("*?"):
        return text
    if text.isprintable():
        return "'" + text.replace("'", "'\\''") + "'"
    raw = text.encode("utf-8", "surrogateescape")
    return (
        "$'" + "".join(chr(b) if 0x20 <= b < 0x7F and b not in b"\\'" else f"\\x{b:02x}" for b in raw) + "'"
    )


def rights_of(wants: Right | None) -> list[str]:
    """The names of the rights in a mask."""
    return [] if wants is None else [str(right.name).lower() for right in RIGHTS if right & wants]


def difference_as_json(difference: Difference) -> dict[str, Json]:
    """The same for scripts."""
    return {
        "is_wider": difference.is_wider,
        "is_weaker": difference.is_weaker,
        "verdict": verdict_line(difference),
        "differences": [_change_as_json(each) for each in difference.items],
        "notes": list(difference.notes),
    }


def _change_as_json(change: Change) -> dict[str, Json]:
    return {
        "direction": change.direction.value,
        "area": change.area,
        "what": change.what,
        "rights": list(change.rights),
        "rule_a": _rule_as_json(change.rule_a),
        "rule_b": _rule_as_json(change.rule_b),
        "witness": None if change.witness is None else question_as_json(change.witness),
        "answer_a": change.answer_a or None,
        "answer_b": change.answer_b or None,
    }


def _rule_as_json(rule: RuleRef | None) -> Json:
    return None if rule is None else {"id": rule.id, "field": rule.field, "summary": rule.summary}


def question_as_json(question: Question) -> dict[str, Json]:
    """The fields of a question that say something."""
    found: dict[str, Json] = {}
    for each in fields(question):
        value = getattr(question, each.name)
        if each.name == "wants":
            found |= {"access": [*rights_of(value)]} if value else {}
        elif each.name in {"after", "headers"}:
            found |= {each.name: [*value]} if value else {}
        elif value is not None and (
            each.name != "protocol" or question.call in {"connect", "bind", "listen"}
        ):
            found[each.name] = str(value) if isinstance(value, str) else value
    return found
