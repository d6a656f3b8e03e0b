"""Evidence of what ran: written ahead, sealed into segments, and queried.

What is recorded is decided in `sandbox`, who may ask in `api`; this package knows neither, nor how
the monitor lays out its records: whoever composes the program hands a decoder in. INVARIANT: what
was acknowledged is never lost, and never rewritten.
"""
