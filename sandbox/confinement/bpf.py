"""Assembles seccomp filters: from what each system call may be given to a program for the kernel.

Which calls those are is `filters.py`; handing the program over is `process.py`. The kernel runs it before
each call of the process, and it looks at numbers only: what a pointer leads to could change after the look.
INVARIANT: a program ends with a return on every path, and what no rule allows gets the action for the rest.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

# SPEC: linux/bpf_common.h, linux/seccomp.h; the same on every machine
_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06
_IF_EQUAL, _IF_ABOVE = 0x15, 0x25
_NUMBER_AT, _ARCH_AT, _ARGS_AT = 0, 4, 16
_HIGHEST_NATIVE = 0x3FFF_FFFF  # x86-64 has a second numbering above it (x32)
_MASK = 0xFFFF_FFFF


class Action(IntEnum):
    """What becomes of a call that is not allowed; SPEC: SECCOMP_RET_*."""

    KILL = 0x8000_0000  # the whole process, with SIGSYS
    DENY = 0x0005_000D  # the call fails: EACCES
    ABSENT = 0x0005_0026  # the call fails: ENOSYS, as if the kernel did not have it


_ALLOW = 0x7FFF_0000


@dataclass(frozen=True, slots=True)
class Check:
    """A condition on one argument: `(argument & mask) == value`, in its lower 32 bits.

    With `is_other` it must not be that value.
    With `is_whole` the upper 32 bits have to be zero; without, the kernel takes an `int` there and does not
    look at them either.
    """

    argument: int
    value: int
    mask: int = _MASK
    is_whole: bool = False
    is_other: bool = False


Case: TypeAlias = tuple[Check, ...]
"""Conditions that have to hold together; none: the call is allowed whatever it is given."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What is allowed of one system call: any of these cases; otherwise the action."""

    number: int
    cases: tuple[Case, ...] = ((),)
    otherwise: Action = Action.KILL


Instruction: TypeAlias = tuple[int, int, int, int]  # code, jump if true, jump if false, operand
SIZE = 8  # bytes of an instruction


def assemble(rules: Sequence[Rule], *, arch: int, newest: int, rest: Action = Action.KILL) -> bytes:
    """Give the program: `struct sock_filter`s in the byte order of this machine.

    Calls with numbers above `newest` fail as absent; those of another architecture are killed; those that no
    rule names get `rest`. Raises ValueError when a number is named twice.
    """
    numbers = [rule.number for rule in rules]
    if len(set(numbers)) != len(numbers):
        raise ValueError("a system call is named twice")
    program: list[Instruction] = [
        (_LOAD, 0, 0, _ARCH_AT),
        (_IF_EQUAL, 1, 0, arch),
        (_RETURN, 0, 0, Action.KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_IF_ABOVE, 0, 1, _HIGHEST_NATIVE),
        (_RETURN, 0, 0, Action.KILL),
        (_IF_ABOVE, 0, 1, newest),
        (_RETURN, 0, 0, Action.ABSENT),
    ]
    for rule in rules:
        body = [*_body(rule)]
        program += [(_IF_EQUAL, 0, len(body), rule.number), *body]
    program.append((_RETURN, 0, 0, rest))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def _body(rule: Rule) -> Iterator[Instruction]:
    """What follows when the number is the rule's: it returns on every path."""
    for case in rule.cases:
        if not case:
            yield (_RETURN, 0, 0, _ALLOW)
            return
        steps = [step for check in case for step in _steps(check)]
        for index, (code, yes, no, operand) in enumerate(steps):
            # a condition that does not hold leads past the rest of the case and its return
            past = len(steps) - index
            if code != _IF_EQUAL:
                yield (code, yes, no, operand)
            else:
                yield (code, past, 0, operand) if yes else (code, 0, past, operand)
        yield (_RETURN, 0, 0, _ALLOW)
    yield (_RETURN, 0, 0, rule.otherwise)


def _steps(check: Check) -> Iterator[Instruction]:
    at = _ARGS_AT + 8 * check.argument  # little-endian: the lower half comes first
    if check.is_whole:
        yield (_LOAD, 0, 0, at + 4)
        yield (_IF_EQUAL, 0, 0, 0)
    yield (_LOAD, 0, 0, at)
    if check.mask != _MASK:
        yield (_AND, 0, 0, check.mask)
    yield (_IF_EQUAL, int(check.is_other), 0, check.value)
