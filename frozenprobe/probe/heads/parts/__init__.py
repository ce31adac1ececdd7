"""Of which heads are made: rows come in; scalings, moments, inner folds, left-out predictions, temperatures go out."""
