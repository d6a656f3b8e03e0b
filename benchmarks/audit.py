"""Runs `engines/audit_engine.py`: what the audit log costs, beside others that could hold it.

This file has the name of the package that is measured: a script beside it that imports `audit` finds this
one first, and gets the package.
"""

from __future__ import annotations

import importlib
import runpy
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != HERE]

if __name__ == "__main__":
    sys.path[:0] = [str(HERE / "engines"), str(HERE.parent)]
    runpy.run_path(str(HERE / "engines/audit_engine.py"))["main"]()
else:
    del sys.modules[__name__]
    importlib.import_module(__name__)
