#!/bin/sh
# make demo: train, score and look, in a few minutes on two cores.
set -eu
python=${PYTHON:-python}
run=runs/demo-$(date +%Y-%m-%d_%H-%M-%S)

# A window of seven pieces, so that it is seen on short sentences, in the form that is sure to find the words
# (docs/mechanisms/local_p.md): it begins on the diagonal, with the Gaussian inside the softmax.
"$python" -m nmt.train +experiment=demo model.attention.half_width=3 model.attention.centre=diagonal \
    model.attention.gaussian=bias name="${run#runs/}"

# The training has scored its held-out set already; these are three sentences of it.
printf '\n== Three sentences of the test set\n'
head -n 3 "$run/scores/test/source.txt" | "$python" -m nmt.translate run="$run" > "$run/three.txt"
for n in 1 2 3; do
    printf '\nsource       %s\n' "$(sed -n ${n}p "$run/scores/test/source.txt")"
    printf 'translation  %s\n' "$(sed -n ${n}p "$run/three.txt")"
    printf 'reference    %s\n' "$(sed -n ${n}p "$run/scores/test/reference.txt")"
done

cat <<END

== Look
$run/scores/test/results.json has the scores, hypotheses.txt beside it the translations.
Alignment heatmaps are in TensorBoard, under Images, one slider over the steps for each sentence:

  $python -m tensorboard.main --logdir runs      then open http://localhost:6006/#images
END
