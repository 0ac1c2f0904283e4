#!/usr/bin/env bash
# From images to datamodels, run from the root of the repository:
#
#     bash examples/cifar10/example.sh [--small] [options] DATA [OUT]
#
# Stopped and started again with the same words, it goes on where it was. (Arrays are written
# ${array[@]+"${array[@]}"}, as the bash of macOS, 3.2, takes an empty one for an unset name.)
set -euo pipefail

usage() {
    cat >&2 <<'END'
usage: bash examples/cifar10/example.sh [--small] [options] DATA [OUT]

DATA   where the images are: a folder with train and test as .npz, .beton or class folders, or
       the public CIFAR-10 folder (cifar-10-batches-py, cifar-10-batches-bin). To get that one:
         curl -O https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz && tar xzf cifar-10-python.tar.gz
OUT    folder for all that is made (default: cifar_datamodels, or cifar_small)

--small            cats and dogs, 2,000 training and 400 test images, a narrow network, 300 models:
                   minutes on two cores. Where DATA has no classes of these names, name two of its
                   own (--classes=A,B; numbers where it has no names), and fewer images of each if
                   there are fewer (--per-class=N,M)
--models=N         models to train (default: those of spec.json, or 300)
--classes=A,B      only these classes
--per-class=N,M    only so many training and test images of each class
--training.X=Y     an option of the training, see examples/cifar10/README.md
--launch.X=Y       an option of the launcher, such as --launch.workers=4
END
    exit 2
}

models= classes= train_per_class= test_per_class= small= places=() training=() launch=() hint=
for word in "$@"; do
    case $word in
        --small) small=yes ;;
        --models=*) models=${word#*=} ;;
        --classes=*) classes=${word#*=} ;;
        --per-class=*,*) word=${word#*=} train_per_class=${word%,*} test_per_class=${word#*,} ;;
        --training.*=*) training+=("$word") ;;
        --launch.*=* | --worker.*=*) launch+=("$word") ;;
        --per-class=*) echo "$word: give two numbers, --per-class=N,M" >&2; usage ;;
        -*) echo "unknown option $word (options are written --name=value)" >&2; usage ;;
        *) places+=("$word") ;;
    esac
done
[ "${#places[@]}" -ge 1 ] && [ "${#places[@]}" -le 2 ] || usage
data=${places[0]} out=${places[1]:-}
[ -f examples/cifar10/spec.json ] || { echo "run this from the root of the repository" >&2; exit 2; }
if [ -n "$small" ]; then
    [ -n "$classes" ] || hint="--small takes cats and dogs; name two classes that DATA has: --classes=A,B"
    : "${models:=300}" "${classes:=cat,dog}" "${out:=cifar_small}"
    : "${train_per_class:=1000}" "${test_per_class:=200}"
    training=(--training.width=8 --training.epochs=6 --training.lr_peak_epoch=2
        --training.batch_size=50 --training.lr=0.03 ${training[@]+"${training[@]}"})
fi
: "${out:=cifar_datamodels}"
: "${models:=$(python -c 'import json; print(json.load(open("examples/cifar10/spec.json"))["num_models"])')}"
case $models in '' | *[!0-9]*) echo "--models=$models is no number" >&2; exit 2 ;; esac
[ "$models" -ge 25 ] || { echo "--models=$models must be at least 25: some are held out" >&2; exit 2; }
if [ ! -e "$data" ]; then
    echo "$data does not exist; DATA is where the images are" >&2
    usage
fi

above_zero="test accuracy"
[[ " ${training[*]+"${training[*]}"} " != *" --training.margin=logsumexp "* ]] ||
    above_zero="share of margins above 0 (of test images with a probability above 1/2)"

# Of ten models six and a half fit, one and a half choose lambda, and two are held out.
held_out=$((models / 5))
num_val=$((models * 4 / 25))
num_train=$((models - held_out - num_val))

headline() { printf '\n%s\n' "$1"; }
show() {  # a command, shown as the user would type it
    printf '$'; printf ' %q' "$@"; printf '\n'
    "$@"
}

prepare() {  # the images of one part: train or test, and how many of each class
    local part=$1 per_class=$2 made=$out/cifar_$1.npz options=() file
    [ -e "$made" ] && return
    for file in "$data/cifar_$part".{npz,beton} "$data/$part".{npz,beton}; do
        [ -f "$file" ] && options=(--prepare.source="$file") && break
    done
    [ "${#options[@]}" -gt 0 ] || options=(--prepare.source="$data" --prepare.split="$part")
    [ -z "$classes" ] || options+=(--prepare.classes="$classes")
    [ -z "$per_class" ] || options+=(--prepare.per_class="$per_class")
    show python -m examples.cifar10.prepare_data ${options[@]+"${options[@]}"} \
        --prepare.out="$made" || { set -- $?; [ -z "$hint" ] || echo "$hint" >&2; exit "$1"; }
}

# What was made in OUT is used again, so that other words need another OUT: once both files of images
# are there, and for options of the training once a row is complete.
has_images() { [ -e "$out/cifar_train.npz" ] && [ -e "$out/cifar_test.npz" ]; }
has_rows() {
    [ -e "$out/store/_completed.npy" ] && python -c '
import sys, numpy as np
raise SystemExit(not np.load(sys.argv[1], mmap_mode="r").any())' "$out/store/_completed.npy"
}
of_images() { grep -v '^--training\.' <<< "$1"; }

mkdir -p "$out" || { echo "$out cannot be a folder; name another OUT" >&2; exit 1; }
words=$(printf '%s\n' "DATA=$data" "models=$models" "classes=$classes" \
    "per-class=$train_per_class,$test_per_class" ${training[@]+"${training[@]}"})
if [ ! -e "$out/words" ]; then
    for made in "$out/store" "$out"/cifar_{train,test}.npz; do
        [ ! -e "$made" ] || { echo "$out holds something else, $made; name another OUT" >&2; exit 1; }
    done
elif before=$(cat "$out/words"); [ "$words" != "$before" ]; then
    if has_rows || { has_images && [ "$(of_images "$words")" != "$(of_images "$before")" ]; }; then
        echo "$out was made with other words; name another OUT, or the same words again:" >&2
        diff "$out/words" <(printf '%s\n' "$words") | sed -n 's/^</  there:/p; s/^>/  now:  /p' >&2
        exit 1
    fi
    has_images || rm -f "$out"/cifar_{train,test}.npz  # at most one, and of other words
fi
printf '%s\n' "$words" > "$out/words.partial" && mv "$out/words.partial" "$out/words"
headline "1. The images"
prepare train "$train_per_class"
prepare test "$test_per_class"

headline "2. A store for the masks and margins of $models networks"
show python -m examples.cifar10.fit_spec --spec.train_dataset="$out/cifar_train.npz" \
    --spec.val_dataset="$out/cifar_test.npz" --spec.num_models="$models" --spec.out="$out/spec.json"
show python -m datamodels.training.initialize_store --logging.logdir="$out/store" \
    --logging.spec="$out/spec.json"

headline "3. Train the networks that are missing, each on its own half of the images"
show python -m datamodels.training.launch --launch.logdir="$out/store" \
    --launch.main_import=examples.cifar10.train_cifar \
    --data.train_dataset="$out/cifar_train.npz" --data.val_dataset="$out/cifar_test.npz" \
    ${training[@]+"${training[@]}"} ${launch[@]+"${launch[@]}"}
python -c '
import sys, numpy as np
right = np.load(sys.argv[1], mmap_mode="r") > 0
print(f"{len(right)} networks, {sys.argv[2]} {right.mean():.3f} on average")' \
    "$out/store/margins.npy" "$above_zero"

headline "4. For every test image, a sparse linear model from mask to margin"
show bash examples/cifar10/example_reg.sh "$out/store" "$out/regression" \
    --data.num_train="$num_train" --data.num_val="$num_val"

weights=$out/regression/reg_results/datamodels.pt
rows=$((models - held_out))-$((models - 1))
headline "5. How well do they rank $held_out networks they have not seen?"
show python -m datamodels.evaluation.lds --lds.datamodels="$weights" --lds.store="$out/store" \
    --lds.rows="$rows"

headline "6. A page to look around in"
files=$out/report_files report=$out/report.html
[ -e "$files" ] || python -m examples.cifar10.report_files "$out"/cifar_{train,test}.npz "$files"
[ -e "$report" ] || show python -m datamodels.analysis.report --report.datamodels="$weights" \
    --report.store="$out/store" --report.rows="$rows" \
    --report.images="$files/train_images.npy" --report.test_images="$files/test_images.npy" \
    --report.labels="$files/train_labels.npy" --report.test_labels="$files/test_labels.npy" \
    --report.class_names="$files/classes.txt" --report.title="Datamodels of images" \
    --report.out="$report"
printf '\nThe report: %s\n' "$report"
