"""Sealed HDF5: attributes, small arrays and blocks of rows come in; the same, or word of damage, go out."""
