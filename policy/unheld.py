"""Fields that a document uses, that this version does not enforce, and that a plan does not hold either.

Which fields are not enforced is said in `checks/not_enforceable_yet.py`. A plan carries a digest of their
values, so that two plans with other values there have other digests. INVARIANT: the digest depends on what
the values mean and not on how they are written.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, cast

from pydantic import BaseModel

from policy.digest import as_json, canonical

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from policy.digest import Json
    from policy.places import Path

_HELD = ("rules[", "permissions.network.", "permissions.nn", "runtime.isolation")
"""Fields that a plan holds, enforced or not; baselines have them too."""
_HELD_OF_ITSELF = "match.signer"


def unheld(fields: Iterable[str]) -> frozenset[str]:
    """Those of `fields`, named as in `Plan.unenforced`, that the plan has nothing of but the name."""
    return frozenset(
        each for each in fields if each != _HELD_OF_ITSELF and not each.rpartition(": ")[2].startswith(_HELD)
    )


def unenforced_digest(values: Mapping[str, Json]) -> str:
    """`sha256:…` of the values that no plan holds, by the names of their fields; empty without any."""
    left = {field: values[field] for field in sorted(unheld(values))}
    return "sha256:" + hashlib.sha256(canonical(left)).hexdigest() if left else ""


def value_at(model: BaseModel, path: Path) -> Json:
    """The typed value at `path` of a document, with what it holds."""
    value: object = model
    for step in path:
        if isinstance(step, int):
            value = cast("tuple[object, ...]", value)[step]
        else:
            known = type(cast("BaseModel", value)).model_fields
            names = {info.alias or name: name for name, info in known.items()}
            value = getattr(value, names[step])
    return as_json(value.model_dump(by_alias=True) if isinstance(value, BaseModel) else _plain(value))


def _plain(value: object) -> object:
    """`value` with the models in its lists as mappings."""
    if isinstance(value, tuple):
        return tuple(_plain(each) for each in cast("tuple[object, ...]", value))
    return value.model_dump(by_alias=True) if isinstance(value, BaseModel) else value
