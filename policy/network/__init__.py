"""The network of a policy: addresses, names, requests and models, from the document to tables and verdicts.

Each module holds one of these. Nothing here opens a socket or looks anything up: what is asked comes in
as a question. INVARIANT: what has two spellings is brought to one form before it meets a rule, or refused.
"""
