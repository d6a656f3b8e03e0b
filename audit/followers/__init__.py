"""Followers of the log: what sends checkpoints and refusals to places outside it, and how far each one is.

Which processes and threads do that is `api/followers.py`. A follower reads what is sealed and signed, never
what a guest waits for. INVARIANT: a follower's position moves only past what its receiver has taken, so what
a crash interrupts is sent again, with the same key, and never left out.
"""
