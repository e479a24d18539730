"""python -m nmt.eval.align: the command is nmt/cli/align.py."""

from nmt.cli.start import align

if __name__ == "__main__":
    align()
