"""python -m nmt.data: the command is nmt/cli/data.py."""

from nmt.cli.data import main

if __name__ == "__main__":
    main()
