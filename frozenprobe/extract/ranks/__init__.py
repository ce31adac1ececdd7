"""Many processes, one extraction: the environment and the rows that exist come in; the share of one rank goes out."""
