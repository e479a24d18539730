#!/bin/sh
# Draw one and the same sentence for the pages in docs/mechanisms, by the runs that lie in docs/mechanisms/runs: a minute.
#     sh scripts/draw_mechanisms.sh [NAME ...]        all of them, or these runs alone
# A run that is not there is trained, two minutes or more on one core, scored, and put there with weights in bfloat16: remove its
# folder to train it anew.  Repeat the command after an interruption: the training goes on where it was.
set -eu
python=${PYTHON:-python}
sentence=${SENTENCE:-3 minutes and 20 seconds – August 26, 2022}
translation=${TRANSLATION:-3 Minuten und 20 Sekunden – 26. August 2022}
runs=docs/mechanisms/runs
names=$*

wanted() { # NAME
    case " $names " in "  " | *" $1 "*) ;; *) false ;; esac
}

train() { # NAME KEY=VALUE ...
    name=$1
    shift
    if ! wanted "$name" || [ -d "$runs/$name" ]; then return 0; fi
    trained=runs/mechanisms/$name small=runs/mechanisms/$name.bf16
    "$python" -m nmt.train "$@" model.dropout=0 model.tied=all data.tokenizer.vocab_size=1400 data.batching.tokens=1024 \
        decode=greedy threads=1 trainer.precision=fp32 optim.schedule=cosine optim.warmup=60 optim.min_lr=0.0002 \
        trainer.validate_every=200 runs=runs/mechanisms resume=true name="$name"
    "$python" -m nmt.export run="$trained" to=run quantization=bf16 output="$small"
    "$python" -m nmt.eval run="$small" decode.precision=fp32 # the scores of the rounded weights, on every processor
    find "$small/scores" -name '*.txt' -exec rm {} +
    mkdir -p "$runs"
    mv "$small" "$runs/$name"
}

lstm() { # NAME KEY=VALUE ...
    name=$1
    shift
    train "$name" model.hidden_size=56 model.init_range=0.3 optim.lr=0.01 trainer.max_steps=600 "$@"
}

transformer() { # NAME KEY=VALUE ...
    name=$1
    shift
    train "$name" model=transformer_tiny model.num_layers=2 model.hidden_size=48 model.ffn_size=96 optim.lr=0.005 \
        trainer.max_steps=1000 "$@"
}

draw() { # NAME: what its translation attends to
    if wanted "$1"; then
        "$python" scripts/draw_attention.py "$runs/$1" "$sentence" "docs/mechanisms/$1.svg"
    fi
}

align() { # NAME: what it attends to when it is made to say the translation
    if wanted "$1"; then
        "$python" scripts/draw_attention.py --target "$translation" "$runs/$1" "$sentence" "docs/mechanisms/$1.svg"
    fi
}

encoder() { # NAME FILE: what its encoder attends to in its own sentence
    if wanted "$1"; then
        "$python" scripts/draw_attention.py --self-attention encoder "$runs/$1" "$sentence" "docs/mechanisms/$2.svg"
    fi
}

lstm none model.attention=none
lstm bahdanau model.attention=bahdanau
draw bahdanau
lstm global model.attention=global
draw global
lstm local_m model.attention=local_m model.attention.half_width=3
draw local_m
lstm local_p model.attention=local_p model.attention.half_width=3
draw local_p
lstm hard model.attention=hard
draw hard
lstm sparsemax model.attention=global model.attention.normalizer=sparsemax
draw sparsemax
lstm coverage model.attention=coverage
draw coverage
lstm location_aware model.attention=location_aware
draw location_aware
lstm gmm model.attention=gmm optim.lr=0.004 trainer.max_steps=1200 # with larger steps its means do not learn to move
draw gmm
lstm monotonic model.attention=monotonic
draw monotonic
lstm fixed_memory model.attention=fixed_memory model.attention.shares=of_vector model.attention.vectors=8
draw fixed_memory
lstm latent model.attention=global model.mixture=predictions model.mixture_top_k=5
draw latent
lstm lexical model.attention=global model.mixture=lexical
align lexical
lstm lstmn model.encoder=lstmn
encoder lstmn lstmn
transformer transformer
draw transformer
encoder transformer transformer_encoder
transformer local_self_attention model.self_attention=local model.self_attention.half_width=2
encoder local_self_attention local_self_attention
transformer hard_coded model.self_attention=hard_coded
encoder hard_coded hard_coded
transformer cross_attention model.cross_attention=local_p model.cross_attention.half_width=3 \
    model.cross_attention.centre=diagonal model.cross_attention.gaussian=bias
draw cross_attention
