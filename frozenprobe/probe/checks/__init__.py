"""What to know before a number is believed: predictions and features come in; notes, or refined ones, go out."""
