"""python -m nmt.train [GROUP=CHOICE] [KEY=VALUE] ...: train one model, or several with -m."""

from nmt.cli import app
from nmt.cli.options import WITHOUT_DEFAULT, Command
from nmt.config import CHOICE_GROUPS, Config
from nmt.runs.training import train

COMMAND = Command(
    module="nmt.train",
    root="train",
    schema=Config,
    summary="Train a translation model in a run directory of its own, and score it on the test sets at the end.",
    examples=(
        "model.attention=local_p",
        "model.attention=local_p model.attention.half_width=5 trainer.max_minutes=30",
        "data=multi30k model.hidden_size=256",
        "experiment=multi30k_en_de seed=2",
        "-m model.attention=none,bahdanau,global,local_m,local_p seed=1,2,3",
        "-m 'model.attention=glob(local*)' 'seed=range(1,4)' hydra/launcher=joblib hydra.launcher.n_jobs=2 threads=1",
        "model.attention=local_p resume=true trainer.max_steps=40000",
        "resume=runs/local_p trainer.max_steps=40000",
    ),
    groups=(
        *WITHOUT_DEFAULT,
        *CHOICE_GROUPS,  # model and what a model lets choose, data
        "optim",
        "trainer",
        "decode",
        "logger",
    ),
)


def main() -> None:
    """The command nmt-train."""
    app.run(COMMAND, train)
