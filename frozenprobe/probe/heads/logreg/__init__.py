"""Logistic regression to its certified optimum: rows and weights come in, linear models with a bound go out."""
