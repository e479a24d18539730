"""python -m nmt.eval: the command is nmt/cli/eval.py."""

from nmt.cli.start import evaluate

if __name__ == "__main__":
    evaluate()
