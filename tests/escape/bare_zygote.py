"""A zygote of a machine that lacks walls: the kernel's answers are those of one without Landlock or filters.

Nothing else is changed: what our code makes of such answers is what the tests look at.
"""

from __future__ import annotations

import os
from unittest import mock

from sandbox import zygote
from sandbox.confinement import landlock, process, walls


def main() -> None:
    """Serve as a zygote."""
    with (
        mock.patch.object(landlock, "abi", return_value=0),
        mock.patch.object(walls, "can_filter", return_value=False),
        mock.patch.object(process, "leave_namespaces", return_value=os.strerror(1)),
    ):
        zygote.main()


if __name__ == "__main__":
    main()
