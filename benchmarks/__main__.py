"""``python -m benchmarks [NAME ...]``: run all measurements that take minutes, or those named.

Left out of the whole: ``published_scale`` (10 minutes, 18 GB), ``analysis_scale`` (15 minutes, 5 GB
of disk), ``published_commands`` (minutes, 3 GB of disk), ``planted_faults`` (10 minutes),
``cifar_gpu`` (wants a GPU), ``peers`` (an environment of its own) and ``early_end`` (a store of
trained networks).
"""

import importlib
import sys

ALL = (
    "worker_overhead",
    "store_scale",
    "launching",
    "batched_training",
    "beton_io",
    "pair_counts",
    "lasso_path",
    "scaling",
)

if __name__ == "__main__":
    names = sys.argv[1:] or ALL
    sys.argv[1:] = []
    for name in names:
        print(f"== {name}", flush=True)
        importlib.import_module(f"benchmarks.{name}").main()
