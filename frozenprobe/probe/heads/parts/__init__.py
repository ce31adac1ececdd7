"""What heads are made of: rows come in; scalings, moments, inner folds, answers left out and temperatures go out."""
