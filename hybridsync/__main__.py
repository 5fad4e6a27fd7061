"""`python -m hybridsync` is the command `hybridsync`."""

from hybridsync.cli import main

if __name__ == "__main__":
    main()
