"""Names of executions and of log files, which sort by the time they were made.

What is stored under such a name lives in the other modules. An execution is named by a version 7
UUID in its usual text form. INVARIANT: an `ExecutionId` holds hexadecimal digits and hyphens only,
so it is safe in a file name.
"""

from __future__ import annotations

import re
import secrets
import time
from typing import NewType
from uuid import UUID

from audit.errors import FormatError

ExecutionId = NewType("ExecutionId", str)

_FORM = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")


def new_uuid(*, unix_ms: int | None = None) -> UUID:
    """Make a version 7 UUID (RFC 9562): 48 bits of milliseconds, then 74 random bits."""
    stamp = time.time_ns() // 1_000_000 if unix_ms is None else unix_ms
    value = (stamp & (1 << 48) - 1) << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    return UUID(int=value & ~(0x3 << 62) | 0x2 << 62)


def new_execution_id() -> ExecutionId:
    """Make the name of a new execution."""
    return ExecutionId(str(new_uuid()))


def execution_id(text: str) -> ExecutionId:
    """Check the text form of an execution's name; FormatError if it is not one."""
    if not _FORM.match(text):
        raise FormatError("execution id", "a UUID in lower case", text)
    return ExecutionId(text)
