"""The engine that a plan names."""

import numpy as np
from numpy.typing import NDArray

from datamodels.regression.blocks import Int64s
from datamodels.regression.engines.contract import Engine
from datamodels.regression.fit_config import FitConfig
from datamodels.regression.row_source import RowSource
from datamodels.regression.trials import GramEngine, RowEngine

_SAGA_BATCH = 256
_LEAST_BUDGET = 2**30  # bytes of a batch of working sets


def gram_engine(config: FitConfig) -> GramEngine:
    """What starts an engine on a Gram matrix."""
    if config.estimator == "ridge":
        from datamodels.regression.baselines import RidgeEngine

        return RidgeEngine
    if config.estimator == "difference":
        from datamodels.regression.baselines import DifferenceEngine

        return DifferenceEngine
    if config.engine == "torch":
        return lambda gram: _torch_engine(gram, config.device or "cpu")
    from datamodels.regression.engines.cpu import CpuEngine

    return CpuEngine


def _torch_engine(gram: NDArray[np.float32], device: str) -> Engine:
    import torch

    from datamodels.regression.engines.torch_gram import TorchEngine

    on_device = torch.from_numpy(gram).to(device)
    if on_device.device.type == "cpu":
        return TorchEngine(on_device)
    free, _ = torch.cuda.mem_get_info(on_device.device)
    return TorchEngine(on_device, budget_bytes=max(_LEAST_BUDGET, free // 8))


def row_engine(
    config: FitConfig, source: RowSource, targets: slice, table_bytes: int | None = None
) -> RowEngine:
    """What starts an engine on rows in memory; ``table_bytes``: for tables of working sets."""
    if config.engine == "saga":
        return lambda _, rows: _saga_engine(config, source, rows, targets)
    if config.engine == "few_rows":
        from datamodels.regression.engines.few_rows import FewRowsEngine

        return lambda loaded, _: FewRowsEngine(
            loaded.design, loaded.outputs, loaded.groups, table_bytes
        )
    from datamodels.regression.engines.screened import ScreenedEngine

    return lambda loaded, _: ScreenedEngine(
        loaded.design, loaded.outputs, loaded.groups, table_bytes
    )


def _saga_engine(config: FitConfig, source: RowSource, rows: Int64s, targets: slice) -> Engine:
    from datamodels.regression.engines.saga import SagaEngine

    return SagaEngine(
        source,
        rows,
        batch_size=config.batch_size or _SAGA_BATCH,
        lr=config.lr,
        check_every=config.check_every,
        eps=config.change_eps,
        seed=config.seed,
        targets=targets,
    )
