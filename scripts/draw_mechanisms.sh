#!/bin/sh
# Train every attention mechanism on the embedded corpus, some three minutes each on one core, and draw one and the same
# validation sentence for the pages in docs/mechanisms.  Repeat it after an interruption: finished runs are resumed at their end.
set -eu
python=${PYTHON:-python}
sentence=${SENTENCE:-177}

draw() { # NAME [KEY=VALUE] ...
    name=$1
    shift
    "$python" -m nmt.train +experiment=demo model.hidden_size=128 trainer.max_minutes=null trainer.max_steps=1500 \
        runs=runs/mechanisms resume=true name="$name" "$@"
    "$python" scripts/draw_attention.py "runs/mechanisms/$name" "$sentence" "docs/mechanisms/$name.svg"
}

draw bahdanau model.attention=bahdanau
draw global model.attention=global
draw local_m model.attention=local_m model.attention.half_width=3
draw local_p model.attention=local_p model.attention.half_width=3
draw hard model.attention=hard
draw sparsemax model.attention=global model.attention.normalizer=sparsemax
