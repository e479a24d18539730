"""python -m nmt.augment: the command is nmt/cli/augment.py."""

from nmt.cli.start import augment

if __name__ == "__main__":
    augment()
