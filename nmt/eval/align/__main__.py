"""python -m nmt.eval.align: the command is nmt/cli/align.py."""

from nmt.cli.align import main

if __name__ == "__main__":
    main()
