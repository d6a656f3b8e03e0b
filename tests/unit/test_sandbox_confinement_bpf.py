"""Filter programs, run by an interpreter of our own: they say what the rules say, of every call."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.confinement.bpf import Action, Check, Rule, assemble

ARCH, OTHER_ARCH, NEWEST = 0xC000_003E, 0x4000_0003, 461
ALLOW = 0x7FFF_0000
WORD = st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**63])
CHECKS = st.builds(
    Check,
    argument=st.integers(0, 5),
    value=st.sampled_from([0, 1, 4, 2**32 - 1]),
    mask=st.sampled_from([1, 4, 2**32 - 1]),
    is_whole=st.booleans(),
    is_other=st.booleans(),
)
RULES = st.lists(
    st.builds(
        Rule,
        number=st.integers(0, 20),
        cases=st.lists(st.lists(CHECKS, max_size=3).map(tuple), max_size=3).map(tuple),
        otherwise=st.sampled_from(Action),
    ),
    unique_by=lambda rule: rule.number,
    max_size=8,
)


def interpret(program: bytes, *, number: int, arch: int, args: tuple[int, ...]) -> int:
    """What the kernel would answer; it refuses programs that jump out of themselves or never return."""
    call = struct.pack("=IIQ6Q", number, arch, 0, *args)
    code = [struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8)]
    accumulator: int = 0
    at = 0
    while True:
        operation, yes, no, operand = code[at]
        at += 1
        match operation:
            case 0x20:
                (accumulator,) = struct.unpack_from("=I", call, operand)
            case 0x54:
                accumulator &= operand
            case 0x15:
                at += yes if accumulator == operand else no
            case 0x25:
                at += yes if accumulator > operand else no
            case 0x06:
                return int(operand)
            case _:
                raise AssertionError(hex(operation))


def expected(rules: list[Rule], *, number: int, arch: int, args: tuple[int, ...]) -> int:
    """What the rules say, read as a person would."""
    if arch != ARCH or number >= 0x4000_0000:
        return Action.KILL
    if number > NEWEST:
        return Action.ABSENT
    for rule in rules:
        if rule.number == number:
            for case in rule.cases:
                if all(
                    ((args[check.argument] & check.mask) % 2**32 == check.value) != check.is_other
                    and (not check.is_whole or args[check.argument] < 2**32)
                    for check in case
                ):
                    return ALLOW
            return rule.otherwise
    return Action.KILL


@given(
    RULES,
    st.integers(0, 25) | st.integers(0, 2**32 - 1),
    st.sampled_from([ARCH, OTHER_ARCH]),
    st.tuples(WORD, WORD, WORD, WORD, WORD, WORD),
)
def test_a_program_says_what_its_rules_say(rules, number, arch, args):
    program = assemble(rules, arch=ARCH, newest=NEWEST)
    assert interpret(program, number=number, arch=arch, args=args) == expected(
        rules, number=number, arch=arch, args=args
    )


def test_a_call_that_is_named_twice_is_no_program():
    rule = Rule(1)
    assert assemble([rule], arch=ARCH, newest=NEWEST)
    with pytest.raises(ValueError, match="twice"):
        assemble([rule, Rule(1, ())], arch=ARCH, newest=NEWEST)
