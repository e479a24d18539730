"""python -m nmt.export: the command is nmt/cli/export.py."""

from nmt.cli.start import export

if __name__ == "__main__":
    export()
