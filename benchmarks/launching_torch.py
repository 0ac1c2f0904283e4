"""The ``main`` of ``benchmarks.launching`` in a module that imports torch, as trainings do."""

import torch  # noqa: F401

from benchmarks.launching import main

__all__ = ["main"]
