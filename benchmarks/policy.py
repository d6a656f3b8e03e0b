"""Runs `engines/policy_engine.py`: what the policy engine costs.

This file has the name of the package that is measured, so it must not be found in its place.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != HERE]

runpy.run_path(str(HERE / "engines/policy_engine.py"))["main"]()
