"""Copies trained together equal copies trained alone, by an ordinary loop."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from datamodels.errors import InputError, UsageError
from datamodels.training import subset_masks, train_copies

N, N_CLASSES, STEPS, BATCH = 60, 4, 25, 12
M = 5
ALL = range(M)

torch.manual_seed(0)
VECTORS = torch.randn(N, 9)
IMAGES = torch.randn(N, 2, 6, 6)
LABELS = torch.randint(N_CLASSES, (N,))
MASKS = subset_masks(range(M), N, alpha=0.5, seed=0, kind="bernoulli")
SEEDS = [7, 2**63, 0, 12345, -3]


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Networks of this size wait for one another's threads more than they compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def mlp():
    return nn.Sequential(nn.Linear(9, 8), nn.Tanh(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 4))


def group_norm(channels):
    return nn.GroupNorm(2, channels)


def conv(norm=group_norm):
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        norm(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 3),
        nn.Flatten(),
        nn.Linear(4, N_CLASSES),
    )


def batch_norm_conv():
    return conv(nn.BatchNorm2d)


NETWORKS = {"mlp": (mlp, VECTORS), "conv": (conv, IMAGES)}
OPTIMIZERS = {
    "sgd": partial(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-2),
    "adam": partial(torch.optim.Adam, lr=1e-2, eps=1e-4),
    "adamw": partial(torch.optim.AdamW, lr=1e-2, weight_decay=0.1, eps=1e-4),
    "rmsprop": partial(torch.optim.RMSprop, lr=1e-3, momentum=0.5, eps=1e-4),
}


def train_alone(make, inputs, mask, seed, *, optimizer, batches, steps=STEPS, scheduler=None):
    """The definition: one network, an ordinary loop."""
    mask = torch.as_tensor(mask)
    torch.manual_seed(seed)
    module = make()
    step = optimizer(module.parameters())
    schedule = scheduler(step) if scheduler else None
    rows = torch.arange(N) if batches == "all" else mask.nonzero()[:, 0]
    order = torch.empty(0, dtype=torch.int64)
    for _ in range(steps):
        while len(order) < BATCH:
            order = torch.cat([order, rows[torch.randperm(len(rows))]])
        batch, order = order[:BATCH], order[BATCH:]
        losses = functional.cross_entropy(module(inputs[batch]), LABELS[batch], reduction="none")
        counts = mask[batch].float()
        step.zero_grad()
        ((losses * counts).sum() / counts.sum().clamp(min=1)).backward()
        step.step()
        if schedule:
            schedule.step()
    return module


def train_many(make, inputs, copies=ALL, **options):
    copies = list(copies)
    options = {"batch_size": BATCH, "optimizer": OPTIMIZERS["sgd"], **options}
    if "epochs" not in options:
        options = {"steps": STEPS, **options}
    return train_copies(make, inputs, LABELS, MASKS[copies], [SEEDS[i] for i in copies], **options)


def assert_same_module(module, other, atol=2e-5):
    for name, value in other.state_dict().items():
        torch.testing.assert_close(module.state_dict()[name], value, atol=atol, rtol=1e-4)


@pytest.mark.parametrize("batches", ["all", "subset"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("network", NETWORKS)
def test_each_copy_equals_its_run_alone(network, optimizer, batches):
    make, inputs = NETWORKS[network]
    options = {"optimizer": OPTIMIZERS[optimizer], "batches": batches}
    together = train_many(make, inputs, **options)
    assert len(together) == M
    assert len({mask.sum() for mask in MASKS}) > 2
    for i in range(M):
        alone = train_alone(make, inputs, MASKS[i], SEEDS[i], **options)
        assert_same_module(together.module(i), alone)


def test_a_schedule_is_advanced_every_step():
    def scheduler(optimizer):
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.3, total_steps=STEPS)

    options = {"optimizer": OPTIMIZERS["sgd"], "batches": "subset", "scheduler": scheduler}
    together = train_many(mlp, VECTORS, **options)
    for i in range(M):
        assert_same_module(
            together.module(i), train_alone(mlp, VECTORS, MASKS[i], SEEDS[i], **options)
        )


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_copies_of_smaller_subsets_end_earlier(optimizer):
    """Each after ceil(epochs * size / batch_size) steps, whatever the others do."""
    options = {"optimizer": OPTIMIZERS[optimizer], "batches": "subset"}
    together = train_many(mlp, VECTORS, epochs=7.5, **options)
    lengths = [math.ceil(7.5 * mask.sum() / BATCH) for mask in MASKS]
    assert len(set(lengths)) > 2
    for i, steps in enumerate(lengths):
        alone = train_alone(mlp, VECTORS, MASKS[i], SEEDS[i], steps=steps, **options)
        assert_same_module(together.module(i), alone)


@pytest.mark.parametrize("batches", ["all", "subset"])
def test_a_copy_does_not_depend_on_its_company(batches):
    whole = train_many(mlp, VECTORS, batches=batches)
    for copies in ([3], [4, 0], [2, 1, 3]):
        part = train_many(mlp, VECTORS, copies, batches=batches)
        for place, i in enumerate(copies):
            assert_same_module(part.module(place), whole.module(i), atol=1e-6)


def test_a_copy_that_diverges_leaves_the_others_alone():
    def make():
        module = mlp()
        if torch.initial_seed() == SEEDS[2]:
            with torch.no_grad():
                module[0].weight.fill_(math.nan)
        return module

    broken, whole = train_many(make, VECTORS), train_many(mlp, VECTORS)
    assert not torch.isfinite(broken.params["0.weight"][2]).any()
    for i in {*range(M)} - {2}:
        assert_same_module(broken.module(i), whole.module(i), atol=0)


def test_examples_outside_the_subset_do_not_count():
    other = VECTORS.clone()
    other[~MASKS[0]] += 100
    for batches in ("all", "subset"):
        first, second = (
            train_many(mlp, inputs, [0], batches=batches).module(0) for inputs in (VECTORS, other)
        )
        assert_same_module(first, second, atol=0)


def test_batch_norm_is_trained_with_its_statistics():
    together = train_many(batch_norm_conv, IMAGES, batches="subset")
    assert together.buffers["1.num_batches_tracked"].tolist() == [STEPS] * M
    for i in range(M):
        alone = train_alone(batch_norm_conv, IMAGES, MASKS[i], SEEDS[i],
                            optimizer=OPTIMIZERS["sgd"], batches="subset")  # fmt: skip
        assert_same_module(together.module(i), alone, atol=1e-4)
        torch.testing.assert_close(
            together.predict(IMAGES)[i], alone.eval()(IMAGES), atol=1e-3, rtol=1e-3
        )


def test_batch_norm_must_not_see_the_examples_outside():
    with pytest.raises(UsageError, match=r"batches='subset', or GroupNorm"):
        train_many(batch_norm_conv, IMAGES, batches="all")


def test_dropout_differs_from_copy_to_copy_and_ends_with_training():
    def make():
        return nn.Sequential(nn.Linear(9, 8), nn.Dropout(0.5), nn.Linear(8, 4))

    copies = train_copies(make, VECTORS, LABELS, MASKS[[0, 0]], [1, 1], batch_size=BATCH,
                          steps=STEPS, optimizer=OPTIMIZERS["sgd"])  # fmt: skip
    assert not torch.equal(copies.params["0.weight"][0], copies.params["0.weight"][1])
    torch.testing.assert_close(copies.predict(VECTORS), copies.predict(VECTORS))


class Tied(nn.Module):
    """One matrix used twice, one parameter that is not trained, and inputs of integers."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(N_CLASSES, N_CLASSES)
        self.head = nn.Linear(N_CLASSES, N_CLASSES)
        self.head.weight = self.embedding.weight
        self.fixed = nn.Parameter(torch.randn(N_CLASSES), requires_grad=False)

    def forward(self, tokens):
        return self.head(torch.tanh(self.embedding(tokens)).mean(1)) * self.fixed


def test_tied_and_fixed_parameters_and_integer_inputs():
    tokens = torch.randint(N_CLASSES, (N, 3))
    options = {"optimizer": OPTIMIZERS["adam"], "batches": "subset"}
    together = train_many(Tied, tokens, **options)
    for i in range(M):
        module = together.module(i)
        alone = train_alone(Tied, tokens, MASKS[i], SEEDS[i], **options)
        assert_same_module(module, alone)
        assert module.head.weight is module.embedding.weight
        assert not module.fixed.requires_grad


class Counting(nn.Module):
    """Assigns a buffer anew in every call, rather than changing it in place."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(9, N_CLASSES)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, inputs):
        self.calls = self.calls + 1
        return self.layer(inputs) / self.calls


def test_buffers_that_are_assigned_anew():
    options = {"batches": "subset", "optimizer": OPTIMIZERS["sgd"]}
    together = train_many(Counting, VECTORS, epochs=4, **options)
    for i, mask in enumerate(MASKS):
        steps = math.ceil(4 * mask.sum() / BATCH)
        assert together.buffers["calls"][i] == steps
        assert_same_module(
            together.module(i),
            train_alone(Counting, VECTORS, mask, SEEDS[i], steps=steps, **options),
        )


def test_losses_of_ones_own():
    """A regression on targets of several columns."""
    targets = torch.randn(N, 2, dtype=torch.float64)

    def loss(outputs, wanted):
        return (outputs[:, :2] - wanted).square().sum(1)

    def make():
        return mlp().double()

    copies = train_copies(make, VECTORS.double(), targets, MASKS, SEEDS, steps=2, batch_size=N,
                          batches="all", loss=loss,
                          optimizer=partial(torch.optim.SGD, lr=0.1))  # fmt: skip
    torch.manual_seed(SEEDS[1])
    module = make()
    rows = torch.as_tensor(MASKS[1])
    for _ in range(2):
        mean = loss(module(VECTORS.double()[rows]), targets[rows]).mean()
        for value in module.parameters():
            value.grad = None
        mean.backward()
        with torch.no_grad():
            for value in module.parameters():
                value.sub_(0.1 * value.grad)
    assert_same_module(copies.module(1), module, atol=1e-12)


def test_predict_is_what_the_modules_return_in_any_batches():
    copies = train_many(conv, IMAGES, steps=2)
    expected = torch.stack([copies.module(i)(IMAGES) for i in range(M)])
    for batch_size in (1, 7, N, 10 * N):
        outputs = copies.predict(IMAGES, batch_size=batch_size)
        assert outputs.shape == (M, N, N_CLASSES)
        assert not outputs.requires_grad
        torch.testing.assert_close(outputs, expected.detach(), atol=1e-5, rtol=1e-4)


def test_masks_of_any_dtype_and_seeds_of_numpy():
    expected = train_many(mlp, VECTORS, [0, 1], steps=2)
    for masks in (MASKS[:2].astype(np.float32), torch.as_tensor(MASKS[:2]).long(),
                  MASKS[:2].tolist()):  # fmt: skip
        copies = train_copies(mlp, VECTORS, LABELS, masks, np.array(SEEDS[:2], dtype=np.uint64),
                              steps=2, batch_size=BATCH, optimizer=OPTIMIZERS["sgd"])  # fmt: skip
        assert_same_module(copies.module(1), expected.module(1), atol=0)


def test_the_random_state_of_the_caller_stays():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train_many(mlp, VECTORS, steps=1)
    assert torch.equal(torch.rand(3), expected)


def made_differently():
    return nn.Linear(9, 4) if torch.initial_seed() == SEEDS[0] else nn.Linear(9, 4, bias=False)


def lbfgs(params):
    return torch.optim.LBFGS(params)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"inputs": VECTORS[:50]}, InputError, "inputs hold 50 examples and targets 60"),
        ({"inputs": VECTORS.numpy()}, InputError, r"inputs are ndarray; .* torch.as_tensor"),
        ({"targets": LABELS[:0]}, InputError, r"targets have shape \(0,\)"),
        ({"masks": MASKS[:, :50]}, InputError, r"masks have shape \(5, 50\); 60 examples need"),
        ({"masks": MASKS[:0]}, InputError, r"masks have shape \(0, 60\)"),
        ({"masks": MASKS * 0.5}, InputError, r"masks hold 0.5; each entry must be 0 or 1"),
        ({"seeds": SEEDS[:4]}, InputError, "seeds hold 4 numbers and masks 5 rows"),
        ({"seeds": [*SEEDS[:4], 0.5]}, UsageError, "seed 0.5 is not an integer"),
        ({"seeds": [*SEEDS[:4], 2**64]}, UsageError, r"seed 18446744073709551616 is out of range"),
        ({"batch_size": 0}, UsageError, "batch_size=0 is out of range"),
        ({"batch_size": 61, "batches": "all"}, UsageError, "lower it to 60 or less"),
        ({"batch_size": 45}, UsageError, r"batch_size=45 is more than the \d+ examples of mask"),
        ({"masks": 0 * MASKS}, UsageError, r"more than the 0 examples of mask 0; .*batches='all'"),
        ({"batches": "own"}, UsageError, "batches='own' is unknown"),
        ({"steps": 0}, UsageError, "steps=0 is out of range"),
        ({"steps": None}, UsageError, "give one of the two"),
        ({"epochs": 3}, UsageError, "give one of the two"),
        ({"steps": None, "epochs": math.nan}, UsageError, "epochs=nan is out of range"),
        ({"optimizer": lbfgs}, UsageError, "LBFGS does not treat each number by itself"),
        ({"make_module": made_differently}, InputError, "another network for copy 1"),
        ({"make_module": lambda: nn.LazyLinear(4)}, InputError, "lazy layers"),
        ({"make_module": lambda: 5}, InputError, "make_module returned int"),
        ({"optimizer": lambda _: None}, InputError, "optimizer made NoneType"),
        ({"steps": 2.5}, UsageError, "steps=2.5 is not an integer"),
        ({"targets": LABELS.float()}, InputError, r"targets are torch.float32; .*long"),
        ({"make_module": nn.Tanh}, InputError, "no parameter to train"),
        ({"loss": functional.cross_entropy}, InputError, r"has shape \(\); .*reduction='none'"),
        ({"make_module": lambda: nn.Sequential(mlp(), nn.Unflatten(1, (2, 2)))}, InputError,
         r"shape \(12, 2, 2\) for a batch; .*\(batch, classes\)"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused(changed, error, message):
    arguments = {
        "make_module": mlp,
        "inputs": VECTORS,
        "targets": LABELS,
        "masks": MASKS,
        "seeds": SEEDS,
        "optimizer": OPTIMIZERS["sgd"],
        "batch_size": BATCH,
        "steps": 2,
    }
    with pytest.raises(error, match=message):
        train_copies(**(arguments | changed))


def test_wrong_arguments_of_the_trained_copies_are_refused():
    copies = train_many(mlp, VECTORS, [0, 1], steps=1)
    with pytest.raises(UsageError, match="copy 2 does not exist: there are copies 0 to 1"):
        copies.module(2)
    with pytest.raises(UsageError, match="batch_size=0"):
        copies.predict(VECTORS, batch_size=0)
    with pytest.raises(InputError, match="no example"):
        copies.predict(VECTORS[:0])


def test_dropout_is_a_function_of_the_seeds_and_leaves_the_generators_alone():
    inputs, targets = torch.randn(40, 6), torch.randint(0, 3, (40,))
    masks = np.ones((3, 40), bool)

    def network():
        return nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 3))

    def trained():
        return train_copies(network, inputs, targets, masks, [5, 6, 7], batch_size=10, steps=4,
                            optimizer=lambda params: torch.optim.SGD(params, lr=0.1))  # fmt: skip

    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = trained()
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    again = trained()
    for name, values in first.params.items():
        assert torch.equal(values, again.params[name])


def test_a_schedule_that_follows_a_loss_is_refused_before_training():
    inputs, targets = torch.randn(9, 6), torch.randint(0, 3, (9,))
    with pytest.raises(UsageError, match="counts steps"):
        train_copies(lambda: nn.Linear(6, 3), inputs, targets, np.ones((1, 9)), [0], batch_size=3,
                     steps=1, optimizer=torch.optim.Adam,
                     scheduler=torch.optim.lr_scheduler.ReduceLROnPlateau)  # fmt: skip
