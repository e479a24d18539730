"""python -m nmt.eval: the command is nmt/cli/eval.py."""

from nmt.cli.eval import main

if __name__ == "__main__":
    main()
