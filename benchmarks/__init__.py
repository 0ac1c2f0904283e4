"""Measurements of speed. ``python -m benchmarks`` runs all; each module runs alone too."""
