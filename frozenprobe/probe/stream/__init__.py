"""Features larger than memory: a file comes in block by block; fitted heads and predictions go out."""
