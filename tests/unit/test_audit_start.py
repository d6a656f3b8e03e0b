"""What is known of an execution at its start comes back from the log."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import FormatError
from audit.start import ExecutionStart, MountPoint
from tests.records import start

TEXT = st.text(max_size=10)


@given(
    TEXT,
    st.lists(TEXT, max_size=3),
    st.lists(st.builds(MountPoint, TEXT, TEXT), max_size=3),
    st.dictionaries(TEXT, TEXT, max_size=3),
)
def test_it_comes_back(name, rules, mounts, host):
    made = start(module_name=name, rules=tuple(rules), mounts=tuple(mounts), host=tuple(sorted(host.items())))
    assert ExecutionStart.from_json(made.to_json()) == made


def test_a_name_that_would_leave_the_folder_is_refused():
    text = start().to_json()
    exec_id = start().exec_id
    with pytest.raises(FormatError):
        ExecutionStart.from_json(text.replace(text[12:48], b"../" * 12) if exec_id else text)


def test_what_is_not_enforced_is_there_when_there_is_any():
    made = start(unenforced=("permissions.network.tcp", "rules[0]"))
    assert ExecutionStart.from_json(made.to_json()) == made
    assert b"unenforced" not in start().to_json()
    assert ExecutionStart.from_json(start().to_json()).unenforced == ()


def test_a_missing_field_is_refused():
    with pytest.raises(FormatError, match="plan_digest"):
        ExecutionStart.from_json(start().to_json().replace(b'"plan_digest"', b'"plan_digesT"'))


def test_host_paths_are_stored_so_that_they_can_be_told_apart():
    assert MountPoint.of("/in", os.fsdecode(b"/srv/a\\b\xff")) == MountPoint("/in", "/srv/a\\\\b\\xff")
