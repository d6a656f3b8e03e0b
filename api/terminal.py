"""What a person sees: colours only where they are seen, progress only while somebody waits.

What is shown is decided by the commands. Text that came from a guest is made inert before it comes here.
INVARIANT: where the stream is no terminal, nothing is written but plain text, and no progress.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Self

import click

if TYPE_CHECKING:
    from types import TracebackType
    from typing import TextIO

_DELAY_S = 0.4  # what is done sooner needs no progress
_STEP_S = 0.1
_FRAMES = "|/-\\"
_CLEAR = "\r\x1b[2K"


class Paint:
    """Colours for one stream, or none."""

    def __init__(self, stream: TextIO) -> None:
        """Look whether the stream is a terminal, and whether the user refuses colours."""
        self.is_terminal = stream.isatty()
        self.is_coloured = self.is_terminal and not _is_refused()

    def __call__(self, text: str, colour: str, *, bold: bool = False) -> str:
        """Give `text` in a colour, or as it is."""
        return click.style(text, fg=colour, bold=bold or None) if self.is_coloured else text

    def faint(self, text: str) -> str:
        """Give `text` as something of less weight."""
        return click.style(text, dim=True) if self.is_coloured else text

    def bold(self, text: str) -> str:
        """Give `text` as something of more weight."""
        return click.style(text, bold=True) if self.is_coloured else text


class Progress:
    """A line on a terminal that says what is waited for, and for how long; elsewhere nothing at all."""

    def __init__(self, stream: TextIO | None = None, *, is_quiet: bool = False) -> None:
        """Show progress on `stream`, standard error if it is None."""
        self._stream = stream or sys.stderr
        self._is_shown = self._stream.isatty() and not is_quiet
        self._text = ""
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def say(self, text: str) -> None:
        """Show `text` from now on, if it takes noticeable time."""
        self.stop()
        if not self._is_shown or not text:
            return
        self._text = text
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._spin, args=(self._over,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take the line away."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def __enter__(self) -> Self:
        """Give the progress itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the line away."""
        self.stop()

    def _spin(self, over: threading.Event) -> None:
        start = time.monotonic()
        if over.wait(_DELAY_S):
            return
        step = 0
        while True:
            mark, spent = _FRAMES[step % len(_FRAMES)], time.monotonic() - start
            self._stream.write(f"{_CLEAR}{mark} {self._text} {spent:.0f} s")
            self._stream.flush()
            step += 1
            if over.wait(_STEP_S):
                break
        self._stream.write(_CLEAR)
        self._stream.flush()


def _is_refused() -> bool:
    from api.settings import is_colour_refused

    return is_colour_refused()
