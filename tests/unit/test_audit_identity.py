"""Names of executions sort by time and are safe in file names."""

from __future__ import annotations

from uuid import RFC_4122

import pytest

from audit.errors import FormatError
from audit.identity import execution_id, new_execution_id, new_uuid


def test_a_new_name_is_a_version_7_uuid():
    made = new_uuid(unix_ms=1_795_371_280_123)
    assert (made.version, made.variant) == (7, RFC_4122)
    assert made.int >> 80 == 1_795_371_280_123


def test_later_names_sort_later():
    assert str(new_uuid(unix_ms=5)) < str(new_uuid(unix_ms=6))


def test_names_differ():
    assert len({new_execution_id() for _ in range(1000)}) == 1000


def test_a_new_name_passes_its_own_check():
    assert execution_id(new_execution_id())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "../../etc/passwd",
        "01A20486-6d44-71fa-a66a-5abf52833cf0",
        "01a20486-6d44-71fa-a66a-5abf52833cf0\n",
    ],
)
def test_another_form_is_refused(text):
    with pytest.raises(FormatError):
        execution_id(text)
