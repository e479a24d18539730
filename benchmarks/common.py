"""What the measurements share: where results go, peak memory, the machine's name, tables and plots."""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RESULTS = Path(__file__).parent / "results"


def peak(run: Callable[[], object]) -> float:
    """Most MB that tensors made by ``run`` held at once."""
    activity = torch.profiler.ProfilerActivity.CPU
    with torch.profiler.profile(activities=[activity], profile_memory=True) as profile:
        run()
    assert profile.profiler is not None
    assert profile.profiler.kineto_results is not None
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()  # pyright: ignore[reportAttributeAccessIssue]
        most = max(most, held)
    return most / 1e6


def settings(options: argparse.Namespace, *sizes: str) -> dict[str, str]:
    """What a reader needs to judge the figures."""
    return {
        "command": " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "date": date.today().isoformat(),
        "commit": commit(),
        "machine": f"{processor()}, torch {torch.__version__}, {options.clock} clock",
        "sizes": ", ".join(f"{key.replace('_', ' ')} {getattr(options, key)}" for key in sizes),
    }


def processor() -> str:
    """The processor's name where Linux tells it, and the widest instructions that torch uses."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "CPU")
    return f"{name} ({torch.backends.cpu.get_cpu_capability()})"


def commit() -> str:
    """Of the source tree, with a plus if it has changes; empty outside one."""
    git = ["git", "-C", str(Path(__file__).parent)]
    done = subprocess.run([*git, "describe", "--always", "--dirty=+"], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def numbers(text: str) -> list[int]:
    return [int(x) for x in text.split(",")]


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is text and whose others are numbers."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def save(folder: Path, name: str, found: dict[str, Any], text: str, plot: Callable[[Sequence[Path]], None]) -> None:
    """What a measurement found, as NAME.json, its report as NAME.md, and its plot."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (folder / f"{name}.md").write_text(text, encoding="utf-8")
    plot([folder / f"{name}.png", folder / f"{name}.svg"])


def saved(name: str) -> tuple[dict[str, Any], Path]:
    """What benchmarks/NAME.py found, from the file that the command line names or from the results, and its folder."""
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS / f"{name}.json"
    if not file.exists():
        sys.exit(f"{file} is not there; python benchmarks/{name}.py writes it")
    return json.loads(file.read_text(encoding="utf-8")), file.parent


def draw(axes: "Axes", name: str, points: Sequence[tuple[int, float]], colour: str) -> None:
    """A line over the lengths at which something was measured."""
    axes.plot(*zip(*points, strict=True), color=colour, marker="o", markersize=4, linewidth=2, label=name)


def log_log(axes: "Axes", label: str, lengths: Sequence[int]) -> None:
    """Scales that make powers of a length straight, with room for names on the right."""
    axes.set(xscale="log", yscale="log", xlabel=label, xlim=(lengths[0] * 0.8, lengths[-1] * 5))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xticks(lengths, [str(n) for n in lengths])
    axes.minorticks_off()
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def name_lines(axes: "Axes") -> None:
    """Each line's name at its end, as far from the next as the letters are high."""
    bottom, top = axes.get_ylim()
    apart, least = (top / bottom) ** 0.06, 0.0
    for line in sorted(axes.get_lines(), key=lambda line: line.get_ydata()[-1]):  # type: ignore[index]
        x, y = line.get_xdata()[-1], max(line.get_ydata()[-1], least)  # type: ignore[index]
        axes.annotate(str(line.get_label()), (x * 1.25, y), color=line.get_color(), va="center")
        least = y * apart
