"""Handing out rows: each is run, none by two, and chunks suit the time that a row takes."""

import random

import pytest

from datamodels.training.row_queue import RowQueue
from datamodels.training.worker_report import Outcome


def simulate(queue, workers, seconds):
    """Run all rows on ``workers`` of equal speed; when each chunk ended, by its worker."""
    clocks = [0.0] * workers
    order = []
    while len(queue):
        worker = min(range(workers), key=lambda i: clocks[i])
        rows = queue.take()
        order += rows
        for row in rows:
            clocks[worker] += seconds
            queue.ended(row, Outcome.WRITTEN, seconds)
    return order, clocks


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
@pytest.mark.parametrize("seconds", [1e-4, 0.05, 0.9, 30.0])
@pytest.mark.parametrize("n", [1, 2, 7, 100, 1_237])
@pytest.mark.parametrize("batch", [1, 16])
def test_every_row_is_handed_out_once(workers, seconds, n, batch):
    order, _ = simulate(RowQueue(range(n), workers=workers, batch=batch), workers, seconds)
    assert sorted(order) == list(range(n))


@pytest.mark.parametrize("workers", [2, 3, 8])
@pytest.mark.parametrize("seconds", [1e-3, 0.05, 0.9, 30.0])
def test_the_last_worker_does_not_work_alone(workers, seconds):
    _, clocks = simulate(RowQueue(range(1_000), workers=workers), workers, seconds)
    assert max(clocks) - min(clocks) <= max(seconds, 1.0)


def test_batches_stay_whole_while_there_are_many():
    queue = RowQueue(range(10_000), workers=2, batch=64)
    sizes = []
    while len(queue) > 300:
        rows = queue.take()
        sizes.append(len(rows))
        for row in rows:
            queue.ended(row, Outcome.WRITTEN, 0.004)
    assert all(size % 64 == 0 for size in sizes)


def test_chunks_are_whole_batches_up_to_the_most_that_they_may_hold():
    queue = RowQueue(range(50_000), batch=300, most=4_000)
    for row in queue.take():
        queue.ended(row, Outcome.WRITTEN, 1e-5)
    assert len(queue.take()) == 3_900


def test_a_row_is_tried_so_often_and_then_set_aside():
    queue = RowQueue([5, 6], retries=3)
    tried = []
    while len(queue):
        for row in queue.take():
            tried.append(row)
            is_last = queue.ended(row, Outcome.FAILED if row == 5 else Outcome.WRITTEN, 1.0)
            assert is_last == (tried.count(5) == 3 and row == 5)
    assert sorted(tried) == [5, 5, 5, 6]
    assert queue.set_aside == [5]


@pytest.mark.parametrize("seed", range(20))
def test_no_row_is_lost_whatever_comes_back(seed):
    rng = random.Random(seed)
    queue = RowQueue(range(200), workers=3, retries=2, batch=rng.choice([1, 8]))
    complete = set()
    while len(queue):
        rows = queue.take()
        assert not complete & set(rows)
        begun = rng.randint(0, len(rows))
        for row in rows[:begun]:
            outcome = rng.choice([Outcome.WRITTEN, Outcome.SKIPPED, Outcome.FAILED])
            queue.ended(row, outcome, rng.random())
            complete |= {row} if outcome is not Outcome.FAILED else set()
        (queue.put_back if rng.random() < 0.5 else queue.put_back_alone)(rows[begun:])
    assert complete | set(queue.set_aside) == set(range(200))
    assert not complete & set(queue.set_aside)
