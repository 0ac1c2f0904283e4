"""Old name of ``datamodels.training.worker``; works the same."""

from datamodels.training.worker import main

if __name__ == "__main__":
    raise SystemExit(main())
