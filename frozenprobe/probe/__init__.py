"""Vectors -> scores: folds, heads, honest numbers, submissions; never sees a pixel."""
