#!/bin/sh
# Train every attention mechanism on the embedded corpus, some three minutes each on one core, and draw one and the same
# validation sentence for the pages in docs/mechanisms.  Repeat it after an interruption: finished runs are resumed at their end.
set -eu
python=${PYTHON:-python}
sentence=${SENTENCE:-177}

train() { # NAME [KEY=VALUE] ...
    name=$1
    shift
    "$python" -m nmt.train +experiment=demo model.hidden_size=128 trainer.max_minutes=null trainer.max_steps=1500 \
        runs=runs/mechanisms resume=true name="$name" "$@"
}

draw() { # NAME [KEY=VALUE] ...: what its translation attends to
    train "$@"
    "$python" scripts/draw_attention.py "runs/mechanisms/$name" "$sentence" "docs/mechanisms/$name.svg"
}

encoder() { # NAME FILE: what an encoder attends to in its own sentence
    "$python" scripts/draw_attention.py --self-attention encoder "runs/mechanisms/$1" "$sentence" "docs/mechanisms/$2.svg"
}

draw bahdanau model.attention=bahdanau
draw global model.attention=global
draw local_m model.attention=local_m model.attention.half_width=3
draw local_p model.attention=local_p model.attention.half_width=3
draw hard model.attention=hard
draw sparsemax model.attention=global model.attention.normalizer=sparsemax
draw coverage model.attention=coverage
draw location_aware model.attention=location_aware
draw gmm model.attention=gmm
draw monotonic model.attention=monotonic
draw fixed_memory model.attention=fixed_memory model.attention.shares=of_vector model.attention.vectors=8
draw latent model.attention=global model.mixture=predictions model.mixture_top_k=5

train lstmn model.encoder=lstmn
encoder lstmn lstmn

transformer() { # NAME [KEY=VALUE] ...: the recipe of the demo, which has an LSTM, with a smaller step
    name=$1
    shift
    "$python" -m nmt.train model=transformer_tiny model.num_layers=2 model.dropout=0.1 decode=greedy threads=1 \
        optim.lr=0.003 optim.schedule=cosine optim.warmup=200 optim.decay_steps=1500 optim.min_lr=0.0002 \
        trainer.max_steps=1500 trainer.validate_every=400 runs=runs/mechanisms resume=true name="$name" "$@"
}

transformer transformer
"$python" scripts/draw_attention.py runs/mechanisms/transformer "$sentence" docs/mechanisms/transformer.svg
encoder transformer transformer_encoder
transformer local_self_attention model.self_attention=local model.self_attention.half_width=2
encoder local_self_attention local_self_attention
transformer hard_coded model.self_attention=hard_coded
encoder hard_coded hard_coded
transformer cross_attention model.cross_attention=local_p model.cross_attention.half_width=3 \
    model.cross_attention.centre=diagonal model.cross_attention.gaussian=bias
"$python" scripts/draw_attention.py runs/mechanisms/cross_attention "$sentence" docs/mechanisms/cross_attention.svg
