"""Vectors -> scores: Features come in; predictions out of fold, for the test images, and an honest number go out."""
