"""How this program was called, so that commands which it prints can be pasted.

What the commands are is said where they are printed. INVARIANT: a printed command starts this very program.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

from audit.inert import inert


def program() -> str:
    """The words that start this program in a shell."""
    called = sys.argv[0]
    if Path(called).name != "wasmgate":
        return f"{quoted(sys.executable)} -m api.cli"
    found = shutil.which("wasmgate")
    if found and os.path.realpath(found) == os.path.realpath(called):
        return "wasmgate"
    return quoted(called)


def command(*words: str) -> str:
    """A command of this program, ready to be pasted."""
    return " ".join([program(), *map(quoted, words)])


def quoted(word: str) -> str:
    """A word for a shell; inert, so that an odd name of a folder gives no surprise."""
    return shlex.quote(inert(word))
