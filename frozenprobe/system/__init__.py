"""The machine and its files: names, bytes and cores come in; whole files, tables, text, devices and limits go out."""
