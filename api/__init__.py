"""Every surface of wasmgate, and the place where policy, sandbox and audit are put together.

What a policy means, how a module is run and how records are kept live in those packages. INVARIANT: no module
of another package imports this one.
"""
