"""Broken code on purpose: a table of changes and of the tests that have to notice them, and what tries it."""
