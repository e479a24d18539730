"""python -m nmt.train: the command is nmt/cli/train.py."""

from nmt.cli.start import train

if __name__ == "__main__":
    train()
