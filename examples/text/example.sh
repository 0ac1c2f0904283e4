#!/usr/bin/env bash
# Letters to a shop: from text classifiers to datamodels and a report. From the root of the
# repository, with the environment active:
#
#     bash examples/text/example.sh [OUT [MODELS]]
#
# OUT ("text_demo" by default) gets the store, the fits and report.html. Stopped and started again
# with the same words, it goes on where it was. MODELS (1000) may be fewer, for a try; for more, raise
# num_models in spec.json.
set -euo pipefail

out=${1:-text_demo}
models=${2:-1000}
here=$(dirname "$0")
refuse() { echo "$1" >&2; exit "$2"; }
case $out in -*) refuse "usage: bash examples/text/example.sh [OUT [MODELS]]" 2 ;; esac
case $models in '' | *[!0-9]*) refuse "MODELS=$models is no number" 2 ;; esac
most=$(python -c 'import json, sys; print(json.load(open(sys.argv[1]))["num_models"])' "$here/spec.json")
[ "$models" -ge 50 ] && [ "$models" -le "$most" ] ||
    refuse "MODELS=$models must be from 50 to the num_models of $here/spec.json, $most" 2
mkdir -p "$out" || refuse "$out cannot be a folder; name another OUT" 1
[ -e "$out/models" ] || echo "$models" > "$out/models"
[ "$(cat "$out/models")" = "$models" ] ||
    refuse "$out was made with $(cat "$out/models") models; name another OUT, or that number" 1
held_out=$((models / 5))            # models that score
num_val=$((models * 4 / 25))        # models that choose lambda
num_train=$((models - held_out - num_val))

if [ ! -e "$out/store" ]; then
    python -m datamodels.training.estimate \
        --estimate.spec="$here/spec.json" \
        --estimate.main_import=examples.text.train_text
fi

python -m datamodels.training.initialize_store \
    --logging.logdir="$out/store" \
    --logging.spec="$here/spec.json"

python -m datamodels.training.launch \
    --launch.logdir="$out/store" \
    --launch.main_import=examples.text.train_text \
    --launch.indices="0-$((models - 1))"

fit() { # fit ARRAY FOLDER: datamodels of an array of the store
    [ -e "$2" ] || python -m datamodels.regression.compute_datamodels \
        --data.data_path="$out/store" --data.y_name="$1" \
        --data.num_train="$num_train" --data.num_val="$num_val" \
        --cfg.k=50 --cfg.eps=1e-2 --cfg.resume=true --cfg.out_dir="$2"
}
fit margins "$out/datamodels"
fit train_margins "$out/own"

python -m datamodels.evaluation.lds \
    --lds.datamodels="$out/datamodels/datamodels.pt" \
    --lds.store="$out/store" \
    --lds.rows="$((models - held_out))-$((models - 1))"

python -m examples.text.check \
    --checking.test="$out/datamodels/datamodels.pt" \
    --checking.own="$out/own/datamodels.pt"

[ -e "$out/letters" ] || python -m examples.text.show --show.out="$out/letters"
[ -e "$out/report.html" ] || python -m datamodels.analysis.report \
    --report.datamodels="$out/datamodels/datamodels.pt" \
    --report.own="$out/own/datamodels.pt" \
    --report.store="$out/store" \
    --report.rows="$((models - held_out))-$((models - 1))" \
    --report.renderer=examples.text.show:letter \
    --report.labels="$out/letters/train_labels.npy" \
    --report.test_labels="$out/letters/test_labels.npy" \
    --report.class_names="$out/letters/departments.txt" \
    --report.title="Datamodels of letters to a shop" \
    --report.out="$out/report.html"
