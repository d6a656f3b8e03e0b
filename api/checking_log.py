"""A verification of the whole log that goes on in the background, and how far it has come.

What is checked is `audit.verify`, with this machine's own public key: an outsider uses a copy kept elsewhere.
INVARIANT: a verification that stops in the middle is never told as one that found nothing.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from audit.tlog.errors import UnprovableError
from audit.verify import standalone

if TYPE_CHECKING:
    from pathlib import Path

_one = threading.Semaphore(1)


class VerifierBusyError(Exception):
    """Another verification goes on: it reads everything, so there is one at a time."""


class Checking:
    """One verification."""

    def __init__(self, root: Path, vkey: Path) -> None:
        """Begin it; raises VerifierBusyError, and UnprovableError where there is no key to check with."""
        try:
            key = standalone.key_of(str(vkey))
        except standalone.Problem:
            raise UnprovableError("nothing was signed here yet") from None
        if not _one.acquire(blocking=False):
            raise VerifierBusyError("another verification goes on")
        self._report = standalone.Report()
        self._over = threading.Event()
        arguments = (str(root), key)
        threading.Thread(target=self._work, args=arguments, name="wasmgate-verify", daemon=True).start()

    def is_over(self, *, within_s: float) -> bool:
        """Say whether it is over, at the latest after so many seconds."""
        return self._over.wait(within_s)

    def counts(self) -> dict[str, int]:
        """Give how much was checked by now."""
        return dict(sorted(self._report.checked.copy().items()))

    def result(self) -> dict[str, Any]:
        """Give what was found; wait for the end first."""
        self._over.wait()
        return dict(self._report.as_json())

    def _work(self, root: str, key: standalone.Key) -> None:
        try:
            files = standalone.Files(root)
            try:
                standalone.Audit(files, [key], self._report).run(None)
            finally:
                files.close()
        except Exception as err:  # noqa: BLE001  # SECURITY: what stops the verifier is not verified
            self._report.add("verifier", f"stopped, which is not to be believed a success: {err!r}")
        finally:
            _one.release()
            self._over.set()
