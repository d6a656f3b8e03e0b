"""The caller's standard input, as a cell may hold it: for reading, and with flags of its own.

Whether a guest gets any is the plan's to say (`stage.py`). INVARIANT: a cell writes to nothing by its input,
and a terminal has the flags after a run that it had before; a pipe, too, where it can be opened anew.
"""

from __future__ import annotations

import fcntl
import os
import stat
from typing import TYPE_CHECKING

from sandbox.cell_handle import CellError

if TYPE_CHECKING:
    from contextlib import ExitStack


def for_reading(fd: int, lent: ExitStack) -> int:
    """Give a descriptor of the same input for a cell; one that is made is closed with `lent`.

    SECURITY: what a shell hands on as input can often be written to, and its flags are those of everybody
    who has it. A file that was opened for reading is given as it is: it has no flags that matter, and who
    reads on behind the guest finds its place. Raises CellError where what can be written to can't be opened
    anew.
    """
    mode = os.fstat(fd).st_mode
    is_written = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
    if stat.S_ISSOCK(mode) or not (is_written or stat.S_ISFIFO(mode) or os.isatty(fd)):
        return fd  # a socket can't be opened; a cell has no call to send by it
    try:
        # without waiting: a named pipe that nobody writes to would be waited for
        made = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as err:
        if not is_written:
            return fd
        raise CellError(f"the input cannot be opened only to be read ({err.strerror}): use a pipe") from err
    lent.callback(os.close, made)
    os.set_blocking(made, True)
    if stat.S_ISREG(mode):
        os.lseek(made, os.lseek(fd, 0, os.SEEK_CUR), os.SEEK_SET)
    return made
