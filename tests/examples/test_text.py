"""The text example: the letters, one row, and the whole way with fewer models."""

import os
import re
import shutil
import signal
import subprocess

import numpy as np
import pytest

from datamodels import Datamodels
from datamodels.training import Store, subset_mask
from examples.text.check import same_intent
from examples.text.show import letter
from examples.text.tickets import (
    DEPARTMENTS,
    INTENT_NAMES,
    N_COPIES,
    N_WRONG,
    SHARES,
    load_tickets,
)
from examples.text.train_text import margins
from tests.conftest import ROOT
from tests.examples.test_examples import BIN, shell
from tests.faults.conftest import wait_for

MODELS = 240  # with many fewer, another and slower engine would fit


def test_letters_are_always_the_same():
    tickets = load_tickets()
    assert tickets.test_texts[:2] == [
        "Hi, The site is very slow and then shows an error. Can you call me back?",
        "Dear team, The driver did not come to collect the parcel that I am sending back. Nobody "
        "came to collect the rucksack on the day we agreed. Order 38675. Thank you.",
    ]
    again = load_tickets.__wrapped__(seed=0)
    assert again.train_texts == tickets.train_texts
    assert load_tickets.__wrapped__(seed=1).train_texts != tickets.train_texts


def test_each_letter_is_of_its_department_but_for_the_planted_ones():
    tickets = load_tickets()
    assert len(INTENT_NAMES) == len(set(INTENT_NAMES)) == len(DEPARTMENTS) * len(SHARES)
    of_intent = tickets.train_intents // len(SHARES)
    np.testing.assert_array_equal(np.flatnonzero(of_intent != tickets.train_labels), tickets.wrong)
    np.testing.assert_array_equal(tickets.test_intents // len(SHARES), tickets.test_labels)
    assert len(tickets.wrong) == N_WRONG
    assert len(set(tickets.copies) - set(tickets.wrong)) == N_COPIES
    for copy, original in zip(tickets.copies, tickets.originals, strict=True):
        assert tickets.train_texts[copy] == tickets.test_texts[original]
        assert tickets.train_labels[copy] == tickets.test_labels[original]
    assert len(np.unique(tickets.train_intents)) == len(INTENT_NAMES)  # none without an example
    assert not any("{" in text for text in tickets.train_texts + tickets.test_texts)


def test_margins_are_log_odds():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(20, 5)), rng.integers(5, size=20)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    correct = shares[np.arange(20), labels]
    np.testing.assert_allclose(margins(logits, labels), np.log(correct / (1 - correct)))


def test_the_renderer_says_what_is_planted():
    tickets = load_tickets()
    assert "label planted wrong]" in letter("train", tickets.wrong[0])
    assert "copy of a test letter]" in letter("train", tickets.copies[0])
    shown = letter("test", 5)
    assert shown == f"{tickets.test_texts[5]} [{INTENT_NAMES[tickets.test_intents[5]]}]"


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    out = tmp_path_factory.mktemp("text")
    return out, shell("bash", "examples/text/example.sh", str(out), str(MODELS))


def test_it_goes_from_letters_to_a_report(example):
    out, result = example
    assert result.returncode == 0, result.stdout + result.stderr
    assert "models an hour" in result.stdout
    assert f"{MODELS} of {MODELS} rows are complete" in result.stdout
    assert f"on {MODELS // 5} models, 300 targets" in result.stdout
    page = (out / "report.html").read_text()
    assert "Datamodels of letters to a shop</title>" in page
    assert "delivery" in page


def test_classifiers_learn_and_datamodels_find_what_they_were_not_told(example):
    out, result = example
    store = Store.open(out / "store")
    rows = np.flatnonzero(store.completed)
    assert rows.tolist() == list(range(MODELS))
    assert store["accuracy"][rows].mean() > 0.9
    np.testing.assert_array_equal(store["masks"][7], subset_mask(7, 1200, alpha=0.5, seed=0))
    assert float(re.search(r"LDS (0\.\d+)", result.stdout)[1]) > 0.5
    tickets = load_tickets()
    datamodels = Datamodels.load(out / "datamodels" / "datamodels.pt")
    same = same_intent(datamodels, tickets.train_intents, tickets.test_intents)
    assert same.mean() > 0.4  # by chance 0.05
    found = re.search(r"wrong labels: (\d+) of 36", result.stdout)
    assert int(found[1]) > 15  # by chance 1


def test_stopped_in_a_fit_and_started_again_it_goes_on(example, tmp_path):
    done, _ = example
    out = tmp_path / "out"
    shutil.copytree(done, out)
    shutil.rmtree(out / "datamodels")
    (out / "report.html").unlink()
    words = ["bash", "examples/text/example.sh", str(out), str(MODELS)]
    env = {**os.environ, "PATH": BIN}
    stopped = subprocess.Popen(words, cwd=ROOT, env=env, start_new_session=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    wait_for((out / "datamodels.unfinished" / "asked.json").exists)
    os.killpg(stopped.pid, signal.SIGKILL)
    stopped.wait()
    assert not (out / "datamodels").exists()
    again = shell(*words)
    assert again.returncode == 0, again.stdout + again.stderr
    assert (out / "datamodels" / "datamodels.pt").read_bytes() == (
        done / "datamodels" / "datamodels.pt"
    ).read_bytes()
