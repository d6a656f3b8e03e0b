"""A zygote of which some cells die before their guests begin: the first one of each two, or every one.

Which it is says the name that it is started by; `tests.frail_zygote` and `tests.fatal_zygote`.
"""

from __future__ import annotations

import os
import signal
from itertools import count
from typing import NoReturn

from sandbox import cell, zygote


def serve(lives: int) -> None:
    """Serve as a zygote whose cells die but for every `lives`th; 0: all die."""
    numbers = count(1)
    spawn, run = zygote.Zygote._spawn, cell.Cell.run
    born = [0]

    def counted(self: zygote.Zygote) -> bool:
        born[0] = next(numbers)
        return spawn(self)

    def frail(self: cell.Cell) -> NoReturn:
        if lives == 0 or born[0] % lives:
            self._receive()
            os.kill(os.getpid(), signal.SIGKILL)
        run(self)

    zygote.Zygote._spawn = counted  # type: ignore[method-assign]  # what dies is the process, not the code
    cell.Cell.run = frail  # type: ignore[method-assign]  # as above
    zygote.main()


if __name__ == "__main__":
    serve(2)
