"""Files that list images: label CSVs and image lists come in, tables of images go out; and what else lies beside."""
