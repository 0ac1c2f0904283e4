#!/usr/bin/env bash
# From a store of CIFAR-10 models to datamodels, run from the root of the repository:
#
#     bash examples/cifar10/example_reg.sh STORE [OUT] [--data.num_train=80 ...]
#
# STORE holds masks (models, images) and margins (models, test images). OUT (STORE/regression by
# default) gets reg_data.beton and reg_results/. Options are those of compute_datamodels and come
# before those of regression_config.yaml. Stopped and started again, it goes on where it was.
set -euo pipefail

tmp_dir=${1:?"usage: bash examples/cifar10/example_reg.sh STORE [OUT] [--data.num_train=80 ...]"}
shift
out_dir=$tmp_dir/regression
if [ $# -gt 0 ] && [[ $1 != -* ]]; then
    out_dir=$1
    shift
fi
here=$(dirname "$0")
mkdir -p "$out_dir"

if [ "$tmp_dir/_completed.npy" -nt "$out_dir/reg_data.beton" ] &&
    [ -e "$out_dir/reg_data.beton" ] &&
    [ ! -e "$out_dir/reg_results" ] && [ ! -e "$out_dir/reg_results.unfinished" ]; then
    echo "rows of $tmp_dir were completed since $out_dir/reg_data.beton was written: writing it anew"
    rm "$out_dir/reg_data.beton"
fi
if [ ! -e "$out_dir/reg_data.beton" ]; then
    python -m datamodels.regression.write_dataset \
        --cfg.data_dir="$tmp_dir" \
        --cfg.out_path="$out_dir/reg_data.beton" \
        --cfg.y_name=margins \
        --cfg.x_name=masks
fi

python -m datamodels.regression.compute_datamodels \
    -C "$here/regression_config.yaml" \
    --data.data_path="$out_dir/reg_data.beton" \
    --cfg.out_dir="$out_dir/reg_results" \
    --cfg.resume=true \
    "$@"
