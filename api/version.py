"""Which version of this program runs.

Versions of documents and of the log are said where those are read. INVARIANT: running from a folder that is
not installed is no error.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def program_version() -> str:
    """The version of this program; `unknown` when it runs from a folder that is not installed."""
    try:
        return version("wasmgate")
    except PackageNotFoundError:
        return "unknown"
