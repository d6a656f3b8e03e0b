"""Runs one module under one plan, and lets nothing past the monitor."""
