"""python -m nmt.data: the command is nmt/cli/data.py."""

from nmt.cli.start import data

if __name__ == "__main__":
    data()
