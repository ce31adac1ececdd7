"""One head on some of the images: views and labels come in; a fitted head with its scaling goes out."""
