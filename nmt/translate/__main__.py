"""python -m nmt.translate: the command is nmt/cli/translate.py."""

from nmt.cli.start import translate

if __name__ == "__main__":
    translate()
