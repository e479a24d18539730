"""Screens of what one sees in a browser, for the documentation: TensorBoard, the report and the page of a sentence.

    python scripts/screens.py runs/SWEEP docs/screens

opens them in a headless Chromium, which has to be installed (chromium, google-chrome, ... on the PATH), and writes
tensorboard_scalars.png, tensorboard_images.png (of the first run), report.png and sentence.png (of the first two).
Those in docs/screens are of local-p with a window of seven pieces, in this project's form and in Luong's:

    python -m nmt.train +experiment=demo model.attention.half_width=3 trainer.max_steps=1000 \\
        trainer.validate_every=200 model.attention.centre=diagonal model.attention.gaussian=bias \\
        runs=runs/SWEEP name=bias_diagonal
    python -m nmt.train -m +experiment=demo model.attention.half_width=3 trainer.max_steps=1000 \\
        trainer.validate_every=200 seed=1,2 sweep=SWEEP
"""

import argparse
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
WIDTH, HEIGHT = 1280, 900
PATIENCE = 60.0  # seconds until a server answers
LOADING = 20_000  # milliseconds of the page's own clock, for its scripts to fetch and draw
SENTENCE = "Saturday, 12 October 2019"


def browser() -> str:
    """The path of a Chromium; ends the program in a sentence where there is none."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        sys.exit(f"a screen needs a browser: none of {', '.join(BROWSERS)} is installed")
    return found


def screen(address: str, file: Path, height: int = HEIGHT) -> None:
    """Write what a window of WIDTH by ``height`` pixels shows of a page."""
    with tempfile.TemporaryDirectory() as profile:
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}"]
        flags += [f"--window-size={WIDTH},{height}", f"--virtual-time-budget={LOADING}", f"--screenshot={file}"]
        subprocess.run([browser(), *flags, address], check=True, capture_output=True, timeout=300)
    print(file)


@contextmanager
def tensorboard(runs: Path) -> Iterator[str]:
    """The address of a TensorBoard that shows these runs, while the block lasts."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "tensorboard.main",
        "--logdir",
        str(runs),
        "--port",
        str(port),
        "--host",
        "127.0.0.1",
    ]
    with tempfile.TemporaryFile() as said, subprocess.Popen(command, stdout=said, stderr=said) as server:
        try:
            address = f"http://127.0.0.1:{port}/"
            wait_for(address)
            yield address
        finally:
            server.terminate()


def wait_for(address: str) -> None:
    """Return when a page is there; raises TimeoutError after PATIENCE."""
    start = time.monotonic()
    while time.monotonic() - start < PATIENCE:
        try:
            with urlopen(address, timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.5)
    raise TimeoutError(f"{address} does not answer")


def nmt(*words: str) -> None:
    """Run a command of this project."""
    subprocess.run([sys.executable, "-m", *words], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="folder of a sweep")
    parser.add_argument("output", type=Path, help="folder of the pictures")
    given = parser.parse_args()
    browser()
    given.output.mkdir(parents=True, exist_ok=True)
    runs = sorted(file.parent for file in given.runs.glob("*/config.yaml"))
    with tensorboard(given.runs) as address:
        screen(f"{address}#scalars", given.output / "tensorboard_scalars.png")
    with tensorboard(runs[0]) as address:
        screen(f"{address}#images", given.output / "tensorboard_images.png")
    with tempfile.TemporaryDirectory() as name:
        nmt("nmt.report", str(given.runs), f"output={name}/report")
        screen(Path(name, "report", "report.html").as_uri(), given.output / "report.png", 2 * HEIGHT)
        nmt(
            "nmt.eval.look", f"run=[{','.join(map(str, runs[:2]))}]", f"source='{SENTENCE}'", f"output={name}/look.html"
        )
        screen(Path(name, "look.html").as_uri(), given.output / "sentence.png", HEIGHT // 2)


if __name__ == "__main__":
    main()
