"""What a fit will do: the engine and why, block sizes, what cannot be done."""

import pytest

from datamodels.errors import InputError, UsageError
from datamodels.regression import devices, memory
from datamodels.regression import plan as planning
from datamodels.regression.fit_config import FitConfig
from datamodels.regression.plan import FromFile, Size, make_plan

GIB = 2**30


@pytest.fixture(autouse=True)
def device(monkeypatch):
    """A machine of two CUDA devices of 10 GiB; its memory can be changed."""
    monkeypatch.setattr(devices, "device_names", lambda: ["cpu", "cuda:0", "cuda:1"])

    def of(gib, there=True):
        monkeypatch.setattr(planning, "free_bytes", lambda _: int(gib * GIB))
        monkeypatch.setattr(planning, "has_cuda", lambda: there)

    of(10)
    return of


def size(n=5_000, p=1_000, t=10, pair_bytes=4, folds=0, **more):
    return Size(n, p, t, pair_bytes, folds, **more)


def plan(config=None, of=None, *, zeros=False, grouped=False, moments=None, **options):
    config = config or FitConfig(**{"memory_gb": 4.0, "device": "cpu", **options})
    return make_plan(config, of or size(), zero_factors=zeros, grouped=grouped, moments=moments)


@pytest.mark.parametrize(
    ("options", "of", "engine", "reason"),
    [
        ({}, size(), "cpu", "the table of all pairs fits in memory"),
        ({"engine": "screened"}, size(), "screened", "as asked"),
        ({}, size(n=900, p=20_000), "few_rows", "900 rows are far fewer than 20000 features"),
        ({}, size(n=2_100, p=30_000), "cpu", "the table of all pairs fits in memory"),
        ({}, size(n=900, p=8_999), "cpu", "the table of all pairs fits in memory"),
        ({}, size(p=50_000), "screened",
         "a table of all pairs of 50000 features takes 9.31 GiB of the 4 allowed"),
        ({}, size(p=20_000, pair_bytes=8), "screened", "takes 4.47 GiB of the 4 allowed"),
        ({}, size(p=30_000, folds=5), "screened", "takes 6.71 GiB of the 4 allowed"),
        ({}, size(p=100, folds=10, pair_bytes=8), "cpu", "fits in memory"),
        ({"tol": 1e-6}, size(p=20_000), "screened", "takes 4.47 GiB of the 4 allowed"),
        ({"tol": 1e-6, "device": "cuda"}, size(p=20_000), "torch", "there is a CUDA device"),
        ({"device": "cuda:1"}, size(), "torch", "there is a CUDA device"),
        ({"estimator": "ridge"}, size(n=900, p=20_000), "cpu", "estimator=ridge"),
        ({"estimator": "difference", "device": "cuda"}, size(), "cpu", "estimator=difference"),
    ],
)  # fmt: skip
def test_the_engine_and_its_reason(options, of, engine, reason):
    settled = plan(**options, of=of)
    assert settled.engine == settled.config.engine == engine
    assert reason in settled.reason


def test_without_a_device_named_the_machine_is_asked(device):
    config = FitConfig(memory_gb=4.0)
    for there, engine in ((True, "torch"), (False, "cpu")):
        device(10, there)
        assert plan(config).engine == engine


def test_a_device_without_room_is_left_alone_unless_it_is_asked_for(device, tmp_path):
    device(0.001)  # 1,000 features: 8 MB while they are counted, 4 MB from a file
    settled = plan(device="cuda")
    assert settled.engine == "cpu"
    assert "1000 features take 0.00745 GiB on the device, which has 0.001 free" in settled.reason
    with pytest.raises(InputError, match="engine=torch: 1000 features take"):
        plan(device="cuda", engine="torch")
    device(0.005)
    path = tmp_path / "m.npz"
    assert plan(device="cuda", moments=FromFile(path, 10)).engine == "cpu"
    path.touch()
    assert plan(device="cuda", moments=FromFile(path, 10)).engine == "torch"


def test_blocks_of_targets_fit_the_device(device):
    device(0.1)
    settled = plan(of=size(t=2_000), device="cuda").config
    assert settled.target_block == int(0.125 * 0.1 * GIB / (64 * 1_000))


@pytest.mark.parametrize("name", ["gpu", "mps", "cuda:7", "cuda:", "CUDA"])
def test_devices_that_are_not_there_are_refused(name):
    with pytest.raises(UsageError, match=f"device={name}: .*this machine has cpu, cuda:0, cuda:1"):
        plan(device=name)


def test_cuda_is_refused_where_there_is_none(monkeypatch):
    monkeypatch.setattr(devices, "device_names", lambda: ["cpu"])
    with pytest.raises(UsageError, match=r"device=cuda: .*this machine has cpu"):
        plan(device="cuda", engine="cpu")


def test_moments_are_for_engines_that_use_tables(tmp_path):
    moments = FromFile(tmp_path / "m.npz", 10)
    for of in (size(n=900, p=20_000), size(p=1_000)):
        assert plan(of=of, moments=moments).engine == "cpu"
    for engine in ("few_rows", "screened", "saga"):
        with pytest.raises(UsageError, match="uses no file"):
            plan(engine=engine, moments=moments)
    with pytest.raises(InputError, match=r"50000 features takes 9.31 GiB"):
        plan(of=size(p=50_000), moments=moments)
    many = FromFile(tmp_path / "m.npz", 10_000)
    assert plan(of=size(p=30_000)).engine == "cpu"
    with pytest.raises(InputError, match=r"30000 features and 10000 targets.* without moments"):
        plan(of=size(p=30_000), moments=many)


def test_tables_of_working_sets_are_a_share_of_the_memory():
    assert plan(memory_gb=1.0).table_bytes == GIB // 4


def test_only_small_tables_of_folds_are_held():
    assert size(p=2_000, folds=10).keeps_folds
    assert not size(p=10_000, folds=10).keeps_folds
    config = FitConfig(engine="cpu")
    assert size(p=2_000, folds=10).table_bytes(config) == 11 * 4 * 2_000**2
    assert size(p=10_000, folds=10).table_bytes(config) == 2 * 4 * 10_000**2
    assert size(centred=False).table_bytes(config) == 8 * 1_000**2


def test_zero_factors_never_pick_the_engine_that_refuses_them():
    assert plan(device="cuda", zeros=True).engine == "cpu"


def test_an_engine_that_is_asked_for_is_kept():
    few = size(n=900, p=20_000)
    for engine in ("cpu", "torch", "few_rows", "screened", "saga"):
        assert plan(engine=engine, of=few).engine == engine


@pytest.mark.parametrize(
    ("options", "flags", "needle"),
    [
        ({"engine": "torch"}, {"zeros": True}, "engine=torch takes no penalty factors of 0"),
        ({"engine": "saga"}, {"zeros": True}, "engine=saga takes no penalty factors of 0"),
        ({"engine": "saga"}, {"grouped": True}, "engine=saga takes no groups"),
        ({"estimator": "ridge"}, {"zeros": True}, "estimator=ridge takes no penalty factors of 0"),
    ],
)
def test_what_an_engine_cannot_do_is_refused(options, flags, needle):
    with pytest.raises(UsageError, match=needle):
        plan(**options, **flags)


@pytest.mark.parametrize(
    ("options", "of", "needle"),
    [
        ({"engine": "cpu"}, size(p=50_000), "50000 features takes 9.31 GiB; 4 GiB are allowed "
         r"\(memory_gb\). Use engine=screened, or a machine with more memory"),
        ({"estimator": "ridge"}, size(p=50_000), "allowed .* Use a machine with more memory"),
        ({"estimator": "difference"}, size(p=50_000), "9.31 GiB"),
        ({}, size(p=30_000, t=10_000), "30000 features and 10000 targets take 7.82 GiB.*Fit fewer "
         "targets at a time .*merge the results"),
    ],
)  # fmt: skip
def test_what_does_not_fit_in_memory_is_refused(options, of, needle):
    with pytest.raises(InputError, match=needle):
        plan(**options, of=of)


@pytest.mark.parametrize("t", [1, 10, 63, 1_000])
def test_blocks_of_targets_are_as_large_as_there_are_targets_and_memory(t):
    assert plan(of=size(t=t)).config.target_block == min(t, 64)
    assert plan(of=size(t=t), device="cuda").config.target_block == min(t, 1_000)
    assert plan(of=size(t=t), target_block=7).config.target_block == 7
    tight = plan(of=size(n=99, p=10**6, t=t), memory_gb=0.01)
    assert (tight.engine, tight.config.target_block) == ("few_rows", 1)


def test_blocks_of_rows_are_a_share_of_the_memory():
    assert plan(memory_gb=1.0).block_bytes == int(0.05 * GIB)
    assert plan(memory_gb=1000.0).block_bytes == 512 * 2**20


def test_without_memory_gb_a_share_of_what_is_free_is_used(monkeypatch):
    config = FitConfig(device="cpu", engine="cpu")
    for free, budget in ((10 * GIB, 6 * GIB), (None, 4.8 * GIB)):
        monkeypatch.setattr(memory, "available_bytes", lambda free=free: free)
        assert memory.memory_budget(config.memory_gb) == pytest.approx(budget, abs=1)
    monkeypatch.setattr(memory, "available_bytes", lambda: GIB)
    with pytest.raises(InputError, match=r"0\.6 GiB are allowed"):
        plan(config, size(p=30_000))


def test_the_settled_options_do_not_tell_how_much_memory_was_free(monkeypatch):
    config = FitConfig(device="cpu")
    settled = []
    for free in (10 * GIB, 11 * GIB):
        monkeypatch.setattr(memory, "available_bytes", lambda free=free: free)
        settled.append(plan(config).config)
    assert settled[0] == settled[1]
    assert settled[0].memory_gb is None
