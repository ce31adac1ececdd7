"""The commands: what was typed comes in, one library call is made, and text or JSON goes out."""
