"""Pixels -> vectors: a request comes in, a feature file with all rows of all images goes out."""
