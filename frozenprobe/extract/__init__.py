"""Pixels -> vectors: the only home of torchvision; importing this package alone loads neither it nor torch."""
