"""A zygote of a machine that lacks walls: the kernel's answers are those of one without Landlock or filters.

Nothing else is changed: what our code makes of such answers is what the tests look at.
"""

from __future__ import annotations

import os

from sandbox import zygote
from sandbox.confinement import landlock, process, walls


def main() -> None:
    """Serve as a zygote."""
    landlock.abi = lambda: 0
    walls.can_filter = lambda: False
    process.leave_namespaces = lambda: os.strerror(1)
    zygote.main()


if __name__ == "__main__":
    main()
