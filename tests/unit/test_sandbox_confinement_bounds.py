"""What the operating system is told of a plan: by mount, and never more than the plan has."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.plan import UNLIMITED
from sandbox.confinement.bounds import bounds_of
from sandbox.confinement.landlock import Access, handled, missing
from tests.runs import limits, policy

LOOK = Access.READ_DIR
RIGHTS = {
    "read": Access.READ_FILE,
    "list": Access(0),
    "write": Access.WRITE_FILE | Access.TRUNCATE,
    "append": Access.WRITE_FILE,
    "delete": Access.REMOVE_FILE | Access.REMOVE_DIR,
    "symlink": Access.MAKE_SYM,
    "create": Access.MAKE_REG | Access.MAKE_DIR | Access.REFER | Access.READ_FILE | Access.WRITE_FILE,
}
OF_DEVICES = Access.MAKE_CHAR | Access.MAKE_BLOCK | Access.MAKE_FIFO | Access.MAKE_SOCK | Access.EXECUTE


def storage(*rules: str, mode: str = "enforce") -> str:
    lines = "".join(f"      - {{{rule}}}\n" for rule in rules)
    return f"mode: {mode}\npermissions:\n  storage:\n    allow:\n{lines}"


@given(st.sets(st.sampled_from(sorted(RIGHTS)), min_size=1))
def test_a_mount_has_the_rights_of_its_rules_and_no_others(rights):
    plan = policy(storage(f'id: a, uri: "fs:///srv/a/**", mount: /a, access: [{", ".join(sorted(rights))}]'))
    expected = LOOK
    for right in rights:
        expected |= RIGHTS[right]
    assert bounds_of(plan).accesses == (int(expected),)
    assert bounds_of(plan).can_change == bool(rights - {"read", "list"})


def test_rights_of_one_mount_are_not_those_of_another():
    plan = policy(
        storage(
            'id: a, uri: "fs:///srv/a/**", mount: /a, access: [read, list]',
            'id: b, uri: "fs:///srv/b/**", mount: /b, access: [append]',
        )
    )
    read, append = bounds_of(plan).accesses
    assert (read, append) == (LOOK | Access.READ_FILE, LOOK | Access.WRITE_FILE)


def test_what_is_only_recorded_is_not_refused_one_level_below():
    rule = 'id: a, uri: "fs:///srv/a/**", mount: /a, access: [read, list]'
    (audited,) = bounds_of(policy(storage(rule, mode="audit"))).accesses
    (enforced,) = bounds_of(policy(storage(rule))).accesses
    assert audited & Access.WRITE_FILE
    assert not enforced & Access.WRITE_FILE


def test_no_mount_makes_devices_or_starts_programs():
    everything = f"access: [{', '.join(sorted(RIGHTS))}]"
    (access,) = bounds_of(policy(storage(f'id: a, uri: "fs:///srv/a/**", mount: /a, {everything}'))).accesses
    assert not access & (OF_DEVICES | Access.IOCTL_DEV)


def test_without_mounts_there_is_nothing_to_reach():
    bounds = bounds_of(policy())
    assert (bounds.accesses, bounds.can_change) == ((), False)


@pytest.mark.parametrize("memory", ["1Mi", "512Mi"])
def test_memory_is_bounded_where_the_plan_bounds_it(memory):
    size = bounds_of(limits(memory=memory, memories=1)).memory_bytes
    assert size > {"1Mi": 1 << 20, "512Mi": 512 << 20}[memory]
    assert bounds_of(limits(memory="unlimited")).memory_bytes == UNLIMITED


def test_an_older_kernel_handles_less_and_says_what():
    assert [bool(handled(version) & Access.TRUNCATE) for version in (1, 2, 3, 7)] == [
        False,
        False,
        True,
        True,
    ]
    assert missing(7) == ()
    assert "TCP" in missing(3)
    assert set(missing(3)) < set(missing(0))
