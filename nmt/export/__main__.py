"""python -m nmt.export: the command is nmt/cli/export.py."""

from nmt.cli.export import main

if __name__ == "__main__":
    main()
