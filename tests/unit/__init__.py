"""Tests of one module each, without a guest where that is possible."""
