"""Many heads: candidates come in; a blend that was chosen inside the training folds goes out."""
