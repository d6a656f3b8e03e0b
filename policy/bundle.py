"""Documents that stand together: the baselines a policy may extend, and the boundaries it must lie in.

Reading one document lives in `document.py`, and what is made of several in `compiler.py`. INVARIANT:
names of baselines are unique, so `extends` has one meaning.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from policy.document import PolicyDocument


@dataclass(frozen=True, slots=True)
class Bundle:
    """The other documents that a policy is compiled with, ordered by name."""

    baselines: tuple[PolicyDocument, ...] = ()
    boundaries: tuple[PolicyDocument, ...] = ()


ALONE = Bundle()
"""No other documents: `extends` finds nothing, and no boundary applies."""
