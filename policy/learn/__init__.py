"""Learns the least policy under which recorded runs pass.

The records come as facts (`policy/facts.py`), which `api/evidence.py` reads from a log. INVARIANT: a draft
grants nothing that a boundary, a denial or a check of the running monitor refused.
"""

from __future__ import annotations

from policy.learn.evidence import LearnError, Run
from policy.learn.learning import Draft, Material, learn, rule_as_json, told
from policy.learn.mounting import Mounted

__all__ = ["Draft", "LearnError", "Material", "Mounted", "Run", "learn", "rule_as_json", "told"]
