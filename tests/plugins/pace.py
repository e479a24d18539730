"""A plug-in for the tests: an optimizer, a learning rate schedule and a logger."""

from torch.optim import Adagrad

from nmt.train.log import LOGGERS
from nmt.train.logger import Logger
from nmt.train.optim import OPTIMIZERS, SCHEDULES, OptimizerRow

OPTIMIZERS["adagrad"] = OptimizerRow(lambda groups, config: Adagrad(groups, lr=config.lr), lambda config: 1)
SCHEDULES["inverse"] = lambda config, at: config.lr / at.step


class Lines(Logger):
    """A line of lines.txt for each call."""

    def __init__(self, directory, step):
        self.file = (directory / "lines.txt").open("a")

    def hparams(self, values, numbers=None, name=None):
        print("hparams", values["optim.name"], file=self.file)

    def scalars(self, group, step, figures):
        print(group, step, figures.get("lr", ""), file=self.file)

    def text(self, tag, text, step):
        print("text", tag, file=self.file)

    def close(self):
        self.file.close()


LOGGERS["lines"] = Lines
