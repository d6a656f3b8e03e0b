"""WASI 0.2 for components, carried out by the calls of WASI 0.1 behind the same monitor."""
