"""`python -m hopper`: the command line."""

from hopper.cli.app import main

if __name__ == "__main__":
    main()
