#!/usr/bin/env bash
# A store of ten rows, one of them filled and checked. Run it from the root of the repository.
set -euo pipefail

tmp_dir=$(mktemp -d)
trap 'rm -rf "$tmp_dir"' EXIT

python -m datamodels.training.initialize_store \
    --logging.logdir="$tmp_dir" \
    --logging.spec=examples/minimal/spec.json

python -m datamodels.training.worker \
    --worker.index=0 \
    --worker.main_import=examples.minimal.train_minimal \
    --worker.logdir="$tmp_dir" \
    --trainer.multiple=2

python -m examples.minimal.check \
    --checking.logdir="$tmp_dir" \
    --trainer.multiple=2
