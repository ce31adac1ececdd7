"""Which run is better: runs come in; paired tests, or no difference shown, go out."""
