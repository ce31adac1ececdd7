"""A file on its way: rows come in, closed pieces lie beside the file, and a finished file goes out."""
