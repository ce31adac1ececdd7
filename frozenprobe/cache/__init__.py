"""The feature file: rows and what they are of come in; Features, checked as they are read, go out."""
