"""`python -m frozenprobe` is the command line."""

from frozenprobe.cli import main

if __name__ == "__main__":
    main()
