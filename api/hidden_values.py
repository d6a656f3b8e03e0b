"""What an event of a read does not repeat: values that were searched for where a tenant's values are masked.

Masks and their keys are `audit.masks` and `audit.mask_keys`; events are made in `control.py`. INVARIANT: a
value that a tenant's mask keeps out of the log does not come into it as what somebody searched that tenant's
records for, and no key is made for a question.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, cast

from audit.mask_keys import FileMaskKeys, MaskKeyError, file_name
from audit.masks import hashed
from audit.text import from_host

if TYPE_CHECKING:
    from pathlib import Path

    from api.control import Question

SEARCHED: Final = frozenset({"path", "path_prefix", "path_glob", "q"})
"""Parameters that can hold a value of a masked column."""

_HASH: Final = re.compile(r"hmac:[0-9a-f]{32}")  # which gives nothing away, and finds the question again

NOT_KEPT: Final = "not kept: masks are in force"
"""Stands for a value where the keys of several tenants could hash it."""


@dataclass(frozen=True, slots=True)
class HiddenValues:
    """Takes out of questions what masks keep out of the log; `folder` has the keys of masks."""

    folder: Path

    def out_of(self, question: Question) -> Question:
        """Give the question as it may be recorded.

        A value is kept while no tenant in reach has a key of masks; where one tenant is asked about, it is
        hashed as that tenant's masks do, so that who knows it finds the question again.
        """
        if not _holds_any(question.wanted):
            return question
        tenants = _tenants(question)
        masked = None if tenants is None else [each for each in tenants if self._path(each).exists()]
        if masked == [] or (masked is None and not any(self.folder.glob("*.key"))):
            return question
        key = self._key(masked[0]) if masked is not None and len(masked) == 1 else None
        return replace(question, wanted=_without(question.wanted, key))

    def _path(self, tenant: str) -> Path:
        return self.folder / f"{file_name(tenant)}.key"

    def _key(self, tenant: str) -> bytes | None:
        try:
            return FileMaskKeys(self.folder).key(tenant)
        except MaskKeyError:
            return None


def _tenants(question: Question) -> list[str] | None:
    """The tenants that are asked about; None for all."""
    wanted = question.wanted
    inner = wanted.get("filter")
    named = wanted.get("tenant") or (inner.get("tenant") if isinstance(inner, Mapping) else None)
    several = wanted.get("tenants")
    if isinstance(several, list | tuple) and several:
        return [from_host(str(each)) for each in cast("tuple[object, ...]", several)]
    if isinstance(named, str):
        return [from_host(named)]
    return None if question.scope == "*" else question.scope.split(",")


def _holds_any(wanted: Mapping[str, object]) -> bool:
    return any(
        (name in SEARCHED and value is not None) or (isinstance(value, Mapping) and _holds_any(value))
        for name, value in wanted.items()
    )


def _without(wanted: Mapping[str, object], key: bytes | None) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in wanted.items():
        if isinstance(value, Mapping):
            found[name] = _without(cast("Mapping[str, object]", value), key)
        elif name in SEARCHED and value is not None and not _HASH.fullmatch(str(value)):
            found[name] = NOT_KEPT if key is None else hashed(key, from_host(str(value)))
        else:
            found[name] = value
    return found
