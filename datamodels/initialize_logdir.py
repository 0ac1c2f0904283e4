"""Old name of ``datamodels.training.initialize_store``; works the same."""

from datamodels.training.initialize_store import main

if __name__ == "__main__":
    raise SystemExit(main())
