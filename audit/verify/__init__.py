"""Verification of a log by somebody who trusts nothing but a public key.

All of it is `standalone.py`, one file that an auditor can take away; what writes the log lives elsewhere.
INVARIANT: nothing here imports code that writes the log.
"""
