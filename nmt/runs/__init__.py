"""Run directories: what one training leaves, how it is read again, scored, and put together with others.

The names of files, the keys of config.yaml and the ``state_dict`` keys of the weights are a contract: a later version
reads the run directories of an earlier one.  A key that is no longer known must still be read; a new key has a default
that means what the earlier version did; weights keep their names and shapes.  A run directory can be moved and
renamed, and reading it executes nothing that it holds.  Every file but log.jsonl and TensorBoard's is written whole or
not at all (nmt.atomic).  What is read back has checksums, which are compared then: checkpoints a CRC-32 for each tensor
(torch.save writes it), config.yaml and the JSON files a SHA-256 in their last line or under "sha256"
(nmt.checksum), the tokenizers' models theirs in tokenizer.json.  A file of an earlier version without one is read.

config.yaml
    The whole configuration (nmt.config.Config), with the name that was asked for: runs/NAME-2 holds ``name: NAME`` if
    it is the second run of NAME.  ``resume`` is always false.
origin.json
    Where and by what the run was last started: ``command`` (the words of the command line), ``folder`` (relative paths
    of data are looked for there, too), versions of ``nmt``, ``torch`` and ``python``, of a source tree the git
    ``commit`` and whether it had ``uncommitted`` changes, ``device`` and number of ``processes``.
plugins/plugins.json, plugins/NAME.py
    Copies of the plug-ins that the run was trained with, with names, SHA-256 sums and what they added.  They are code,
    and are executed only where ``trust=true`` says so (nmt.runs.plugins).
tokenizer/tokenizer.json
    For each tokenizer, "joint" alone or "source" and "target": its ``kind`` and whether it is ``lowercase``.
tokenizer/joint.model, or source.model and target.model (.json for whole words and characters)
    What the tokenizer has learnt: a SentencePiece model, or a list of symbols in the order of their ids.
checkpoints/best.pt
    The weights of the best validation by trainer.metric.  A dict, saved by torch.save: ``format`` (the number of this
    format), ``model`` (the state_dict; the moving averages where trainer.ema is on), ``step`` (updates so far),
    ``precision`` (of training, fp32, bf16 or fp16) and ``metrics`` (of the validation, by name).
checkpoints/step-00001000.pt
    The same of another validation, at the step in its name: what trainer.keep_last and trainer.keep_best retain.
checkpoints/last.pt
    The same of the latest validation or interruption, with all that resuming needs: ``optimizer`` and
    ``optimizer_name``, ``schedule``, ``batches`` (the place in the data), ``standing`` (step, seconds, best step and
    its metrics, validations without a better one), ``rng`` (the state of the random number generators of each process)
    and, with trainer.ema, ``ema``: its number of ``updates`` and the ``model`` as it is being trained; in fp16,
    ``loss_scale``.
checkpoints/previous.pt
    The last.pt before the present one, from which training resumes where last.pt is damaged.
log.jsonl
    What happened, one JSON object a line (nmt.train.log.RunLog).
events.out.tfevents.*
    The same for TensorBoard, with samples of text and pictures of attention.
loggers/NAME.json, wandb/
    The run's ``id`` at a tracker of logger.more, and the last step it was ``given`` of each group; wandb's files.
validation/
    What trainer.validate_command read last, in the layout of mt-metrics-eval.
engines/FORM-CHECKPOINT/, exports/FORM/
    What nmt.translate engine=FORM runs, made anew when the weights change, and what nmt.export made; export.json in
    each says of which weights.
.lock
    Which process trains there now or did last; a lock on it refuses a second one (nmt.runs.lock).
scores/SET/results.json, hypotheses.txt, reference.txt, source.txt
    The scores of a test set and how they were made, and the sentences, a line each (``Scorer``).
scores/SET/limit_20-beam_size_3/
    The same made in another way than training scores sets: with another number of sentences, checkpoint, decoding or
    precision.  The name says what is different.  (Earlier versions wrote all ways into scores/SET.)
scores/with-RUN-HASH/SET/
    The same of an ensemble whose first member is this run.
model.safetensors
    The weights of an exported folder (nmt.runs.safetensors_file), which has config.yaml, tokenizer/ and no checkpoints.
"""

from nmt.runs.directory import (
    Run,
    alignment_config,
    check_checkpoint,
    read_config,
    read_data,
    run_name,
    time_stamp,
)
from nmt.runs.ensemble import EnsembleRun, open_run
from nmt.runs.scoring import Scorer, languages

__all__ = [
    "EnsembleRun",
    "Run",
    "Scorer",
    "alignment_config",
    "check_checkpoint",
    "languages",
    "open_run",
    "read_config",
    "read_data",
    "run_name",
    "time_stamp",
]
