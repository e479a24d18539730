"""python -m nmt.serve: the command is nmt/cli/serve.py."""

from nmt.cli.start import serve

if __name__ == "__main__":
    serve()
