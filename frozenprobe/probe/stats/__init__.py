"""Numbers about predictions: probabilities, labels and clusters come in; scores, intervals and p-values go out."""
