"""The transparency log: an append-only Merkle tree over what the audit log seals, and its signed heads.

What the leaves say lives in `audit/leaves.py`, who appends them in `audit/sealer.py`, and when a head is
signed in `api/signing.py`. INVARIANT: nothing here takes back or reorders a leaf that a head once covered.
"""
