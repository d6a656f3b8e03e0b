"""What can be wrong with the transparency log, its notes, its proofs and its keys.

Each class writes its own sentence, as in `audit/errors.py`, from which all descend; nothing here prints or
exits. INVARIANT: text from a file is cut and inert before it becomes part of a sentence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from audit.errors import AuditError
from audit.inert import inert

if TYPE_CHECKING:
    from pathlib import Path

_SHOWN = 80  # characters of an input that are repeated in a message


class TlogError(AuditError):
    """Root of the errors of this package."""


class ProofError(TlogError):
    """A proof does not show what it should: it is not well formed, or hashes to something else."""

    def __init__(self, problem: str) -> None:
        """Say what is wrong with it."""
        super().__init__(f"the proof does not hold: {problem}")
        self.problem = problem


class RangeError(TlogError):
    """A question about leaves or trees that this log does not have: the caller's fault."""

    def __init__(self, asked: str, size: int) -> None:
        """Say what was asked, and how many leaves there are."""
        super().__init__(f"{asked}: the tree has {size} leaves")
        self.asked = asked
        self.size = size


class UnprovableError(TlogError):
    """What is asked for is not in the log, not signed yet, or no longer kept."""

    def __init__(self, problem: str) -> None:
        """Say which of them it is."""
        super().__init__(f"there is no proof: {problem}")
        self.problem = problem


class DamageError(TlogError):
    """Files of the log are missing, have another form, or contradict each other."""

    def __init__(self, path: Path | str, problem: str) -> None:
        """Say which file it is, and what is wrong with it."""
        super().__init__(f"{path}: the transparency log is damaged: {problem}")
        self.path = path
        self.problem = problem


class EntryError(TlogError):
    """An entry cannot be stored; nothing was written."""

    def __init__(self, entry_bytes: int, most: int) -> None:
        """Say how long it is, and how long one may be."""
        super().__init__(f"an entry has {entry_bytes} bytes, {most} is the most that the format can hold")
        self.entry_bytes = entry_bytes
        self.most = most


class NoteError(TlogError):
    """A signed note, a checkpoint or a key is not well formed, or not signed as it must be."""

    def __init__(self, expected: str, found: object = None) -> None:
        """Say what was expected, and show the start of what is there."""
        shown = "" if found is None else f", found `{inert(repr(found))[:_SHOWN]}`"
        super().__init__(f"signed note: expected {expected}{shown}")
        self.expected = expected


class KeyFileError(TlogError):
    """A key file is missing, is there already, or is open to others."""

    def __init__(self, path: Path, problem: str) -> None:
        """Say which file it is, and what is wrong with it."""
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


class ForkError(TlogError):
    """The head does not extend what was signed before: it is not signed, now or later."""

    def __init__(self, signed_size: int, head_size: int, problem: str) -> None:
        """Say which tree was signed last, what the head is, and why they do not fit."""
        super().__init__(
            f"refused to sign a head of {head_size} leaves: a tree of {signed_size} leaves is signed,"
            f" and {problem}; restore the log from a copy, or start a new one with a new key"
        )
        self.signed_size = signed_size
        self.head_size = head_size
        self.problem = problem
