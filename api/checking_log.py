"""Verifications of the whole log that go on in the background, and the last one that came to its end.

What is checked is `audit.verify`, with this machine's own public key: an outsider uses a copy kept elsewhere.
How many go on at once is the matter of who asks. INVARIANT: a verification that stops in the middle is never
told as one that found nothing, and one that is told of says when it began.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from audit.times import to_rfc3339
from audit.tlog.errors import UnprovableError
from audit.verify import standalone

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FRESH_S = 10.0
"""How long a verification that is over stands for one that is asked for, while nothing more is signed."""


class Checking:
    """One verification."""

    def __init__(self, root: Path, key: standalone.Key, over: Callable[[], None]) -> None:
        """Begin it; `over` is called when it has ended, in its thread."""
        self.began_ns = time.time_ns()
        self.has_stopped = False  # in the middle
        self._report = standalone.Report()
        self._over = threading.Event()
        arguments = (str(root), key, over)
        threading.Thread(target=self._work, args=arguments, name="wasmgate-verify", daemon=True).start()

    def is_over(self, *, within_s: float) -> bool:
        """Say whether it is over, at the latest after so many seconds."""
        return self._over.wait(within_s)

    def counts(self) -> dict[str, int]:
        """Give how much was checked by now."""
        return dict(sorted(self._report.checked.copy().items()))

    def result(self) -> dict[str, Any]:
        """Give what was found, and when it was begun to look; waits for the end."""
        self._over.wait()
        return {"checked_at": to_rfc3339(self.began_ns), **self._report.as_json()}

    def _work(self, root: str, key: standalone.Key, over: Callable[[], None]) -> None:
        try:
            files = standalone.Files(root)
            try:
                standalone.Audit(files, [key], self._report).run(None)
            finally:
                files.close()
        except Exception as err:  # noqa: BLE001  # SECURITY: what stops the verifier is not verified
            self.has_stopped = True
            self._report.add("verifier", f"stopped, which is not to be believed a success: {err!r}")
        finally:
            over()
            self._over.set()


class Checks:
    """The verifications of one log; thread-safe."""

    def __init__(self, root: Path, vkey: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Check the log in `root` with the public key in `vkey`."""
        self._root, self._vkey, self._clock = root, vkey, clock
        self._last: tuple[Checking, bytes, float] | None = None  # what was signed then, and when it began

    def begin(self, over: Callable[[], None] = lambda: None) -> Checking:
        """Begin one; raises UnprovableError where there is no key to check with, and `over` is not called."""
        try:
            key = standalone.key_of(str(self._vkey))
        except standalone.Problem:
            raise UnprovableError("nothing was signed here yet") from None
        signed, began_s = self._signed(), self._clock()
        begun = Checking(self._root, key, over)
        self._last = begun, signed, began_s
        return begun

    def recent(self) -> Checking | None:
        """Give the last one if it is over, began no more than `FRESH_S` ago, and nothing was signed since."""
        last = self._last
        if last is None:
            return None
        found, signed, began_s = last
        is_fresh = found.is_over(within_s=0) and self._clock() - began_s <= FRESH_S
        return found if is_fresh and not found.has_stopped and signed == self._signed() else None

    def forget(self) -> None:
        """Tell of none that is over."""
        self._last = None

    def _signed(self) -> bytes:
        try:
            return (self._root / "tlog" / "checkpoint").read_bytes()
        except OSError:
            return b""
