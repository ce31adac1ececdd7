"""The commands: what was typed comes in, one library call is made, and what it found is printed."""
