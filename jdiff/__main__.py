"""`python -m jdiff`: the same as the command `jdiff`."""

from jdiff.cli import main

if __name__ == "__main__":
    main()
