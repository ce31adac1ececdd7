"""The one pass over views: pixels come in, and go out as vectors, at the speed of the machine."""
