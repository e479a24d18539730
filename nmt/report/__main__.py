"""python -m nmt.report: the command is nmt/cli/report.py."""

from nmt.cli.start import report

if __name__ == "__main__":
    report()
