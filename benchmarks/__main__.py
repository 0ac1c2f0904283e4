"""``python -m benchmarks [NAME ...]``: run all measurements, or those named."""

import importlib
import sys

ALL = ("worker_overhead", "store_scale", "lasso_path")

if __name__ == "__main__":
    for name in sys.argv[1:] or ALL:
        print(f"== {name}", flush=True)
        importlib.import_module(f"benchmarks.{name}").main()
