"""`python -m mycelium`: the command line, where its script is not on the PATH."""

from mycelium.cli.main import main

if __name__ == "__main__":
    main()
