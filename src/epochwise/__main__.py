"""``python -m epochwise`` is the command ``epochwise``."""

from epochwise.cli.app import main

if __name__ == "__main__":
    main()
