"""Why a module is not run: the reasons, the error that carries one, and how guest text is quoted in it.

Which module meets which reason is decided in `admission.py` and `compiler.py`.
Every piece of guest text in a message went through `quoted`, so a message is inert on a terminal and in a
log.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from audit.inert import inert

# 80 = where the errors of this project cut what they quote; 20 = how many items a person still reads in a
# sentence.
MAX_QUOTED = 80
MAX_LISTED = 20


class Refusal(StrEnum):
    """The reason codes; scripts may rely on them."""

    TOO_LARGE = "too-large"
    EMPTY = "empty"
    NOT_WASM = "not-wasm"
    TEXT = "text"
    COMPONENT = "component"
    VERSION = "version"
    TRUNCATED = "truncated"
    INVALID = "invalid"
    TOO_MANY = "too-many"
    TOO_MANY_IMPORTS = "too-many-imports"
    TOO_MANY_EXPORTS = "too-many-exports"
    MATCH = "match"
    SHARED_MEMORY = "shared-memory"
    MEMORY64 = "memory64"
    IMPORTED_MEMORY = "imported-memory"
    IMPORT_KIND = "import-kind"
    FOREIGN_IMPORT = "foreign-import"
    PREVIEW0 = "preview0"
    IMPORT_SIGNATURE = "import-signature"
    NO_ENTRY = "no-entry"
    ENTRY_MISSING = "entry-missing"
    ENTRY_SIGNATURE = "entry-signature"
    MEMORY_SIZE = "memory-size"
    TOO_MANY_MEMORIES = "too-many-memories"
    TOO_MANY_TABLES = "too-many-tables"
    TOO_MANY_INSTANCES = "too-many-instances"
    TABLE_SIZE = "table-size"
    COMPILE_TIME = "compile-time"
    COMPILE_MEMORY = "compile-memory"
    COMPILE_FAILED = "compile-failed"


_LIMITS = {
    Refusal.TOO_LARGE: "module",
    Refusal.MEMORY_SIZE: "memory",
    Refusal.TOO_MANY_MEMORIES: "memories",
    Refusal.TOO_MANY_TABLES: "tables",
    Refusal.TOO_MANY_INSTANCES: "instances",
    Refusal.TABLE_SIZE: "table_elements",
    Refusal.COMPILE_TIME: "compile",
}
"""The limit of the policy that a module is beyond before it runs, by the reason why it does not."""


class AdmissionRefused(Exception):  # noqa: N818  # an outcome of a run, shown as `refused`, not a mistake of ours
    """The module is not run; `reason` is for scripts, `message` for people."""

    def __init__(self, reason: Refusal, message: str) -> None:
        """Keep the code and the sentence; guest text in it is quoted already."""
        super().__init__(reason, message)
        self.reason = reason
        self.message = message

    @property
    def limit(self) -> str | None:
        """The limit of the policy that the module is beyond, where that is the reason."""
        return _LIMITS.get(self.reason)

    def __str__(self) -> str:
        """Return the sentence."""
        return self.message


def quoted(text: str, limit: int = MAX_QUOTED) -> str:
    """Return guest text in backticks, inert, and cut to `limit` characters."""
    # Cut first, so that the cost of escaping does not depend on the guest; cut again, since escaping makes it
    # longer.
    shown = inert(text[: limit + 1]).replace("`", "'")
    return f"`{shown}`" if len(shown) <= limit else f"`{shown[: limit - 1]}…`"


def listed(items: Sequence[str]) -> str:
    """Return the first items, quoted, and how many more there are."""
    shown = ", ".join(quoted(item) for item in items[:MAX_LISTED])
    more = len(items) - MAX_LISTED
    return f"{shown} and {more} more" if more > 0 else shown
