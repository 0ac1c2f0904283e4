"""One trainer for many networks: each as if it were the only one."""

import contextlib
import dataclasses
import shutil
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch

from datamodels.errors import InputError, UsageError
from datamodels.training import row_seed, subset_mask
from examples.cifar10.device_images import DeviceImages, Normalization
from examples.cifar10.devices import captures_steps, compile_mode, precision_of, training_device
from examples.cifar10.margins import over_largest
from examples.cifar10.network import Network
from examples.cifar10.recipe import Recipe, batches
from examples.cifar10.trainer import Trainer, mirrored
from tests.conftest import requires
from tests.examples.coloured_shapes import coloured_shapes

CPU = torch.device("cpu")
N_TRAIN = 60
RECIPE = Recipe(epochs=3, lr_peak_epoch=1, batch_size=16, width=2, lr=0.2)


@pytest.fixture(autouse=True)
def one_thread():
    """As a worker has it; more only wait for one another at this size."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data():
    return DeviceImages.load(coloured_shapes(N_TRAIN), coloured_shapes(20, seed=1), CPU)


def margins(trainer, row):
    mask = torch.from_numpy(subset_mask(row, N_TRAIN, alpha=0.5, seed=0))
    trainer.train(mask, row_seed(row, seed=0))
    return over_largest(trainer.logits(trainer.images.test), trainer.images.test_labels)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_network_does_not_depend_on_those_before_it(data, precision):
    recipe = dataclasses.replace(RECIPE, precision=precision)
    trainer = Trainer(data, recipe)
    first, other, again = (margins(trainer, row) for row in (3, 8, 3))
    assert torch.equal(first, again)
    assert torch.equal(first, margins(Trainer(data, recipe), 3))
    assert not torch.equal(first, other)


def test_nor_does_it_touch_torchs_random_numbers_or_depend_on_them(data):
    trainer = Trainer(data, RECIPE)
    torch.manual_seed(1)
    first = margins(trainer, 3)
    drawn = torch.rand(4)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(4))
    torch.manual_seed(2)
    assert torch.equal(first, margins(trainer, 3))


def test_subsets_of_different_sizes_take_turns(data):
    trainer = Trainer(data, RECIPE)
    masks = [torch.arange(N_TRAIN) < size for size in (40, 7, 40)]
    logits = []
    for mask in masks:
        trainer.train(mask, 5)
        logits.append(trainer.logits(data.test))
    assert torch.equal(logits[0], logits[2])
    assert torch.isfinite(logits[1]).all()


def test_only_images_of_the_subset_matter():
    train, test = coloured_shapes(N_TRAIN), coloured_shapes(20, seed=1)
    mask = torch.from_numpy(subset_mask(0, N_TRAIN, alpha=0.5, seed=0))
    changed = train.images.copy()
    outside = np.flatnonzero(~mask.numpy())
    changed[outside] = changed[outside][::-1]  # the statistics of all images stay as they are
    labels = train.labels.copy()
    labels[outside] = 1 - labels[outside]
    logits = []
    for each in (train, train._replace(images=changed, labels=labels)):
        trainer = Trainer(DeviceImages.load(each, test, CPU), RECIPE)
        trainer.train(mask, 1)
        logits.append(trainer.logits(trainer.images.test))
    torch.testing.assert_close(logits[0], logits[1], rtol=1e-3, atol=1e-4)


def test_it_learns(data):
    trainer = Trainer(data, dataclasses.replace(RECIPE, epochs=40, width=4, lr_peak_epoch=10))
    trainer.train(torch.ones(N_TRAIN, dtype=torch.bool), 0)
    right = trainer.logits(data.test).argmax(1) == data.test_labels
    assert right.float().mean() > 0.8


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_compiled_code_serves_all_networks(data, precision):
    """With what torch.compile does but for making machine code. The whole is one graph in every
    precision: autocast, which the network leaves at its last layer, breaks it nowhere."""
    recipe = dataclasses.replace(RECIPE, precision=precision)
    eager, compiled = Trainer(data, recipe), Trainer(data, recipe)
    compiled._loss = torch.compile(
        compiled.loss_of_batch, backend="aot_eager", dynamic=False, fullgraph=True
    )
    for row in (3, 8):
        torch.testing.assert_close(
            margins(compiled, row), margins(eager, row), rtol=1e-4, atol=1e-5
        )
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 1


@requires("compiler", shutil.which("g++"), "there is no g++, which torch.compile calls")
def test_machine_code_serves_all_networks_too(data, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    recipe = dataclasses.replace(RECIPE, epochs=1, precision="bfloat16")
    eager = Trainer(data, recipe)
    compiled = Trainer(data, dataclasses.replace(recipe, compile="compile"))
    for row in (3, 8):
        theirs = margins(eager, row)
        torch.testing.assert_close(margins(compiled, row), theirs, rtol=0.05, atol=0.05)
    assert list(tmp_path.rglob("*.cpp"))


@pytest.fixture
def compiles_by_default(monkeypatch):
    """``auto`` is torch.compile, as on a GPU; returns how to say what it is to do."""
    monkeypatch.setattr("examples.cifar10.trainer.compile_mode", lambda *_: "compile")

    def set_backend(run):
        def compiled(loss, **_):
            return lambda *inputs: run(loss, inputs)

        monkeypatch.setattr(torch, "compile", compiled)

    return set_backend


def test_where_compiling_fails_training_goes_on_without_it(data, compiles_by_default, capsys):
    def fail(loss, inputs):
        raise OSError("no C compiler\nsecond line")

    compiles_by_default(fail)
    trainer, plain = Trainer(data, RECIPE), Trainer(data, dataclasses.replace(RECIPE))
    plain._loss = plain.loss_of_batch
    trainer.step_of(16)(torch.arange(16), torch.zeros(16, 5, dtype=torch.int16), torch.tensor(0.1))
    said = capsys.readouterr().err
    assert said.splitlines() == [
        "warning: torch.compile does not work here (OSError: no C compiler); going on with "
        "--training.compile=graph"
    ]
    assert trainer.mode == "graph"
    assert torch.equal(margins(trainer, 3), margins(plain, 3))
    assert not capsys.readouterr().err


def test_a_full_memory_is_no_fault_of_compiling(data, compiles_by_default, capsys):
    def fail(loss, inputs):
        raise torch.OutOfMemoryError("Tried to allocate 2.00 GiB")

    compiles_by_default(fail)
    trainer = Trainer(data, RECIPE)
    with pytest.raises(torch.OutOfMemoryError):
        margins(trainer, 3)
    assert trainer.mode == "compile"
    assert not capsys.readouterr().err


def test_what_was_asked_for_and_what_fails_later_is_raised(data, compiles_by_default):
    calls = []

    def fail_the_second_time(loss, inputs):
        calls.append(inputs)
        if len(calls) == 2:
            raise OSError("no C compiler")
        return loss(*inputs)

    compiles_by_default(fail_the_second_time)
    with pytest.raises(OSError, match="no C compiler"):
        margins(Trainer(data, RECIPE), 3)
    calls[:] = [()]
    with pytest.raises(OSError, match="no C compiler"):
        margins(Trainer(data, dataclasses.replace(RECIPE, compile="compile")), 3)


class FakeGraph:
    """A CUDA graph that runs again what was run while it was captured, as Python."""

    def replay(self):
        self.step(*self.inputs)


def test_a_captured_step_reads_its_arguments_anew(data, monkeypatch):
    """But for the capture itself, which takes a GPU, the trainer does here what it does there."""
    trainer, plain = Trainer(data, RECIPE), Trainer(data, RECIPE)
    expected = {row: margins(plain, row) for row in (3, 8)}
    captured, calls = [], []
    step_once = trainer._step

    def step(*inputs):
        calls.append(inputs)
        step_once(*inputs)

    @contextlib.contextmanager
    def capture(graph):
        captured.append(graph)
        yield
        graph.step, graph.inputs = step, calls[-1]

    monkeypatch.setattr("examples.cifar10.trainer.captures_steps", lambda *_: True)
    monkeypatch.setattr(trainer, "_step", step)
    monkeypatch.setattr(torch.cuda, "Stream", MagicMock())
    monkeypatch.setattr(torch.cuda, "current_stream", MagicMock())
    monkeypatch.setattr(torch.cuda, "stream", contextlib.nullcontext)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", FakeGraph)
    monkeypatch.setattr(torch.cuda, "graph", capture)
    for row in (3, 8, 3):
        assert torch.equal(margins(trainer, row), expected[row])
    assert len(captured) == 1
    assert len({id(inputs[0]) for inputs in calls}) == 1  # always the same memory


def test_initial_weights_and_batches_come_from_different_seeds(data, monkeypatch):
    seeds = []

    def network(*sizes):
        seeds.append(torch.initial_seed())
        return Network(*sizes)

    def order(rows, batch, steps, generator):
        seeds.append(generator.initial_seed())
        return batches(rows, batch, steps, generator)

    trainer = Trainer(data, RECIPE)
    monkeypatch.setattr("examples.cifar10.trainer.Network", network)
    monkeypatch.setattr("examples.cifar10.trainer.batches", order)
    for row in (3, 8):
        margins(trainer, row)
    assert len(seeds) == len(set(seeds)) == 4


def test_test_time_augmentation_is_the_mean_over_left_and_right(data):
    with_it, without = (
        Trainer(data, dataclasses.replace(RECIPE, lr_tta=tta)) for tta in (True, False)
    )
    for trainer in (with_it, without):
        margins(trainer, 0)
    mirror = torch.from_numpy(data.test.numpy()[:, :, ::-1].copy())  # the width: (n, h, w, 3)
    mean = (without.logits(data.test) + without.logits(mirror)) / 2
    torch.testing.assert_close(with_it.logits(data.test), mean)
    assert not torch.allclose(without.logits(data.test), mean, rtol=1e-2)


def test_a_mirror_image_keeps_rows_and_colours():
    images = torch.arange(2 * 3 * 4 * 3).view(2, 3, 4, 3)
    mirror = mirrored(images)
    for column in range(4):
        assert torch.equal(mirror[:, :, column], images[:, :, 3 - column])


def test_normalised_images_are_channels_last_with_mean_0():
    shapes = coloured_shapes(10)
    normalize = Normalization.of(shapes.images, CPU)
    images = normalize(torch.from_numpy(shapes.images))
    assert images.shape == (10, 3, 16, 16)
    assert images.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(images.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(normalize.fill.float(), normalize.mean, atol=0.5, rtol=0)
    deviations = shapes.images.astype(float).std((1, 2)).mean(0)
    np.testing.assert_allclose(normalize.std.numpy(), deviations, rtol=1e-5)


def test_images_that_do_not_go_together_are_refused():
    with pytest.raises(InputError, match="prepare both from one source"):
        DeviceImages.load(coloured_shapes(4), coloured_shapes(4, side=17), CPU)
    with pytest.raises(InputError, match="prepare both from one source"):
        DeviceImages.load(coloured_shapes(4), coloured_shapes(4, classes=3), CPU)
    with pytest.raises(InputError, match="needs 11 a side"):
        DeviceImages.load(coloured_shapes(4, side=10), coloured_shapes(4, side=10), CPU)


def test_a_cpu_computes_in_float32_uncompiled_unless_told_otherwise():
    assert precision_of(CPU, "auto") == torch.float32
    assert precision_of(CPU, "bfloat16") == torch.bfloat16
    assert compile_mode(CPU, "auto") == "none"
    assert compile_mode(CPU, "compile") == "compile"
    with pytest.raises(UsageError, match="needs a GPU"):
        compile_mode(CPU, "graph")


CUDA = torch.device("cuda")


@pytest.mark.parametrize(
    ("capability", "has_triton", "mode"),
    [
        ((9, 0), True, "compile"),
        ((7, 0), True, "compile"),
        ((6, 1), True, "graph"),
        ((9, 0), False, "graph"),
    ],
)
def test_a_gpu_compiles_where_triton_can(monkeypatch, capability, has_triton, mode):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: has_triton or None)
    assert compile_mode(CUDA, "auto") == mode
    assert compile_mode(CUDA, "compile") == "compile"
    assert captures_steps(CUDA, mode)
    assert not captures_steps(CUDA, "none")
    assert not captures_steps(CPU, mode)


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch sees a GPU here")
def test_a_gpu_that_torch_does_not_see_is_not_passed_over(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    with pytest.raises(UsageError, match=r"GPU 3, 5, but torch .* set CUDA_VISIBLE_DEVICES= "):
        training_device()
    for visible in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert training_device() == CPU
