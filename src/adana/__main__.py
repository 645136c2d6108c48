"""`python -m adana` is the command `adana`."""

from adana.cli import main

if __name__ == "__main__":
    main()
