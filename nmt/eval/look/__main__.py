"""python -m nmt.eval.look: the command is nmt/cli/look.py."""

from nmt.cli.start import look

if __name__ == "__main__":
    look()
