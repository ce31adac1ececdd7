"""The classifiers: training rows come in; a fitted head, which knows how converged it is, goes out."""
