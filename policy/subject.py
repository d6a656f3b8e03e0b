"""For whom and for what a policy is compiled: the facts that `match` and `${…}` are about.

How they come into a document is said in `substitution.py`. INVARIANT: a fact that is not known stays
symbolic and never becomes an empty text.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One module of one tenant, in one run; None where that is not known (yet)."""

    tenant: str | None = None
    module_name: str | None = None
    module_digest: str | None = None  # `sha256:…`
    run_id: str | None = None


ANYONE = Subject()
"""Nothing is known: every `${…}` stays as it is written."""
