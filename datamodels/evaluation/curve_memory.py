"""What the fits and scores of a learning curve hold in memory at their peak."""

from dataclasses import dataclass

from datamodels.errors import InputError
from datamodels.regression.fit_config import FitConfig
from datamodels.regression.memory import memory_budget

_FLOAT_TABLES = 6  # of masks that are not counted: total, difference, and four while shifts change
_PRODUCTS = 5  # X'Y (p, t): of the total, of a training part, of two terms of their sum, of G's c
_PACKED_BYTES = 65_536 // 8  # of a feature: rows are packed in such groups before they are counted
_OUTPUT_BYTES = 44  # of a held-out output: as read, and five float64 arrays of predictions, errors
_RANK_BYTES, _MOST_RANKED = 64, 2**22  # of an output that is ranked, so many at a time


@dataclass(frozen=True)
class CurveSize:
    """The numbers that the memory of a learning curve depends on."""

    n_features: int
    n_targets: int
    n_held_out: int
    pair_bytes: int  # an entry of a table of pairs
    mask_bytes: int  # an entry of a mask

    def table_bytes(self, config: FitConfig) -> int:
        """Tables of pairs: of each part that is held out in turn, of the other rows, and the Gram
        matrix; of a device's counts, until they have joined the others."""
        counted = self.pair_bytes == 4
        tables = (config.folds or 1) + 1 + (0 if counted else _FLOAT_TABLES)
        tables += 0 if config.device in (None, "cpu") else 1
        gram = 0 if counted and config.use_bias else 4  # counts lend their memory
        if config.needs_exact_gram:
            gram = 8
        return (tables * self.pair_bytes + gram) * self.n_features**2

    def other_bytes(self, config: FitConfig) -> int:
        """Products with the outputs, weights, and the held-out models with what is said of them."""
        products = 8 * ((config.folds or 1) + 1 + _PRODUCTS) + 4
        ranked = min(self.n_held_out * self.n_targets, _MOST_RANKED)
        return (
            products * self.n_features * self.n_targets
            + _PACKED_BYTES * self.n_features
            + 2 * self.mask_bytes * self.n_held_out * self.n_features  # with means over repeats
            + _OUTPUT_BYTES * self.n_held_out * self.n_targets
            + _RANK_BYTES * ranked
        )

    def check(self, config: FitConfig) -> None:
        """InputError where ``config``, engine and device settled, would not fit in memory."""
        tables, others = self.table_bytes(config), self.other_bytes(config)
        budget = memory_budget(config.memory_gb)
        if tables + others <= budget:
            return
        parts = f"folds={config.folds}" if config.folds else "a part that chooses lambda"
        fewer = "leave folds out or lower it, " if config.folds else ""
        raise InputError(
            f"a learning curve of {self.n_features} features and {self.n_targets} targets takes "
            f"{(tables + others) / 2**30:.3g} GiB, {tables / 2**30:.3g} of them for the tables of "
            f"pairs that {parts} and the other rows have; {budget / 2**30:.3g} GiB are allowed "
            f"(memory_gb). Use a machine with more memory, or {fewer}take fewer targets "
            "(target_start_ind, target_end_ind), or hold out fewer rows (num_held_out)"
        )
