"""Views of an image: the bytes of a photo come in, its test-time and augmented views go out as pixels."""
