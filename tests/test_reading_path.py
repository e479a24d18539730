"""Who follows an LSTM with local-p attention from the command to its attention opens few files and crosses few calls.

Files of nmt/models/ops are not counted: what they do can be read in their README, as plain torch code.
"""

import sys
import traceback
from pathlib import Path

import pytest
import torch
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

import nmt
from nmt.cli import train
from nmt.models.attention import Attention
from nmt.models.seq2seq import Seq2Seq

PACKAGE = Path(nmt.__file__).parent
MOST_CALLS, MOST_FILES = 10, 9
TINY = (
    *("model.attention=local_p", "model.hidden_size=8", "data.train_size=40", "data.validation_size=4"),
    *("data.test_size=4", "data.max_words=6", "data.tokenizer.vocab_size=400", "trainer.max_steps=1"),
    *("decode=greedy", "decode.max_length=4", "logger.tensorboard=false", "threads=1", "device=cpu"),
)


def inside(file: str) -> bool:
    """Whether a source file belongs to the package."""
    return Path(file).is_relative_to(PACKAGE)


class Recorder:
    """Watches the forward passes of training: validation and the preflight check run in eval mode."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []  # of each call of attention, the functions of nmt from the command to it
        self.files: set[str] = set()  # of nmt whose functions ran in the forward passes of the model

    def before(self, module: torch.nn.Module, inputs: object) -> None:
        if not module.training:
            return
        if isinstance(module, Seq2Seq):
            sys.setprofile(self.profile)
        if isinstance(module, Attention):
            frames = [f for f in traceback.extract_stack() if inside(f.filename)]
            self.calls.append([*(f"{Path(f.filename).name}:{f.name}" for f in frames), type(module).__name__])

    def after(self, module: torch.nn.Module, inputs: object, output: object) -> None:
        if isinstance(module, Seq2Seq):
            sys.setprofile(None)

    def profile(self, frame, event: str, argument: object) -> None:
        if event == "call" and inside(frame.f_code.co_filename):
            self.files.add(Path(frame.f_code.co_filename).relative_to(PACKAGE).as_posix())


@pytest.fixture(scope="module")
def recorder(tmp_path_factory) -> Recorder:
    """One update of an LSTM with input feeding and local-p attention through the command line."""
    recorder, threads = Recorder(), torch.get_num_threads()
    hooks = [register_module_forward_pre_hook(recorder.before), register_module_forward_hook(recorder.after)]
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(tmp_path_factory.mktemp("work"))
            patch.setattr(sys, "argv", ["nmt", *TINY])
            patch.setenv("HYDRA_FULL_ERROR", "1")
            train.main()
    finally:
        sys.setprofile(None)
        for hook in hooks:
            hook.remove()
        torch.set_num_threads(threads)
    return recorder


def test_few_calls_lie_between_the_command_and_attention(recorder):
    assert recorder.calls, "attention was never called in training"
    deepest = max(recorder.calls, key=len)
    assert len(deepest) <= MOST_CALLS, " -> ".join(deepest)


def test_the_forward_pass_runs_in_few_files(recorder):
    """Those of models/ops, which only make it faster, are not counted: it can be understood without them."""
    files = {file for file in recorder.files if not file.startswith("models/ops/")}
    assert "models/attention/local_attention.py" in files
    assert len(files) <= MOST_FILES, sorted(files)
