"""The three commands without any photos: a folder comes in; pictograms, features, a run and its numbers go out."""
