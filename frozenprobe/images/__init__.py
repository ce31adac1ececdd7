"""Where photos come from: folders, shards, lists and CSVs come in; an ImageTable goes out, and bytes of photos."""
