"""Made-up letters to the support of a shop, and the department that each belongs to.

A letter is put together from an opening, one or two sentences of its *intent* and a closing. Each
department has six intents; most letters are of the common ones, and a rare one may sound like those
of another department. The intents are what datamodels should find: no model is ever told them.
Some faults are planted in the training letters: wrong departments, and copies of test letters.
Every choice is a function of the seed alone, on any machine and with any version of numpy.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from datamodels.streams import stream_words

N_TRAIN, N_TEST = 1_200, 300
N_WRONG, N_COPIES = 36, 10
SEED = 0

# How often the intents of a department come up, of 100 letters.
SHARES = (40, 25, 15, 10, 6, 4)

# Department -> intent -> sentences of that intent.
INTENTS: dict[str, dict[str, tuple[str, ...]]] = {
    "billing": {
        "charged twice": (
            "My card was charged twice for {item}.",
            "I see two payments of {price} for the same purchase.",
            "The amount of {price} was taken from my account two times.",
        ),
        "invoice missing": (
            "I need an invoice for {item}.",
            "There was no invoice in the email you sent.",
            "Please send me the invoice over {price} for my tax papers.",
        ),
        "wrong price": (
            "The price of {item} was {price} in the shop but I paid more.",
            "I was asked to pay more than the {price} on the page.",
            "Why is the total higher than the {price} that was advertised?",
        ),
        "voucher refused": (
            "My voucher was not accepted when I paid.",
            "The discount code does nothing for {item}.",
            "It says that the code has expired, but it is valid until Friday.",
        ),
        "gift card empty": (
            "My account shows no balance on the gift card.",
            "The gift card that I got with {item} cannot be used to sign for anything.",
            "I entered the number of the gift card and the balance is zero.",
        ),
        "customs fee": (
            "The courier asked me for a customs fee at the door.",
            "I had to pay customs before the parcel with {item} was handed over.",
            "Who pays the customs for a parcel from abroad?",
        ),
    },
    "delivery": {
        "parcel late": (
            "My parcel with {item} has not arrived.",
            "The delivery is {days} days late.",
            "I have been waiting for {item} for {days} days.",
        ),
        "tracking stuck": (
            "The tracking has not changed for {days} days.",
            "The tracking page says that the parcel is still at the depot.",
            "According to the tracking {item} left the depot {days} days ago.",
        ),
        "wrong address": (
            "The parcel was sent to my old address.",
            "I moved house, please send {item} to the new address.",
            "The driver could not find the address.",
        ),
        "neighbour": (
            "The driver left {item} with a neighbour that I do not know.",
            "The note says that a neighbour has my parcel, but nobody has it.",
            "Please do not leave parcels with the neighbour.",
        ),
        "change slot": (
            "Can I change the day of my delivery?",
            "I cannot be at home on that day, I would like to log another time for {item}.",
            "Please come with {item} in the evening, the page does not let me change the slot.",
        ),
        "damaged box": (
            "The box was wet and open, I want a refund for {item} that came in it.",
            "The courier handed me a crushed box.",
            "The box of {item} looked broken, and I refused it at the door.",
        ),
    },
    "returns": {
        "return label": (
            "I want to send {item} back and need a label.",
            "How do I return {item}?",
            "The return label does not print.",
        ),
        "refund missing": (
            "I returned {item} {days} days ago and have no refund.",
            "When do I get the refund of {price}?",
            "You confirmed the return, but the refund has not come.",
        ),
        "exchange size": (
            "{item} is too small, can I have a larger one?",
            "I would like to exchange {item} for another size.",
            "The size is wrong, please exchange it.",
        ),
        "faulty item": (
            "{item} stopped working after {days} days.",
            "There is a crack in {item} and I want to send it back.",
            "{item} came with a part missing.",
        ),
        "pickup missed": (
            "The driver did not come to collect the parcel that I am sending back.",
            "Nobody came to collect {item} on the day we agreed.",
            "I waited at home for {days} hours, but the courier did not collect the parcel.",
        ),
        "past the deadline": (
            "The form says that the thirty days are over.",
            "I was ill and missed the deadline by {days} days.",
            "Can you make an exception for {item}, the deadline was last week?",
        ),
    },
    "account": {
        "password": (
            "I forgot my password.",
            "The link to reset my password does not come.",
            "My password is not accepted any more.",
        ),
        "change email": (
            "Please change the email of my account.",
            "I have a new email and cannot sign in with it.",
            "My letters still go to the old email.",
        ),
        "delete data": (
            "Please delete my account and all my data.",
            "I want to know which data you keep of me.",
            "I no longer wish to be a customer, delete everything.",
        ),
        "locked": (
            "My account is locked after too many attempts.",
            "I cannot sign in, it says that the account is locked.",
            "Why was my account closed {days} days ago?",
        ),
        "newsletter": (
            "I get your newsletter {days} times a week, please stop it.",
            "Unsubscribing from the newsletter gives an error on the page.",
            "I never asked for the newsletter.",
        ),
        "points": (
            "The points for {item} are missing.",
            "I should have points worth {price} after paying for {item}.",
            "My points were not booked although the card was charged.",
        ),
    },
    "technical": {
        "app crashes": (
            "The app crashes when I open it.",
            "Since the update the app closes after {days} seconds.",
            "The app shows a white screen on my phone.",
        ),
        "page error": (
            "The page gives an error when I open {item}.",
            "I get an error on every page of the shop.",
            "The site is very slow and then shows an error.",
        ),
        "pictures": (
            "The pictures of {item} do not load.",
            "I see no pictures in the shop.",
            "The pictures on the page are blurred.",
        ),
        "search": (
            "The search finds nothing for {item}.",
            "I type the name of {item} and the search shows other things.",
            "The search box is gone.",
        ),
        "checkout hangs": (
            "The payment page turns for minutes and nothing happens.",
            "When I pay for {item} with my card the button does nothing.",
            "The basket is emptied when I go to the payment.",
        ),
        "no confirmation": (
            "I got no email after buying {item}.",
            "The mail with the confirmation never comes.",
            "There is no confirmation, although {price} is gone from my card.",
        ),
    },
}
ITEMS = (
    "the kettle", "a lamp", "the blue jacket", "my running shoes", "the desk", "two chairs",
    "a phone case", "the headphones", "the rucksack", "a winter coat", "the blender", "the bicycle",
    "a novel", "the board game", "the carpet", "my sunglasses", "the printer", "a tent",
)  # fmt: skip
PRICES = ("12 euros", "19 euros", "35 euros", "49 euros", "80 euros", "120 euros", "250 euros")
DAYS = ("two", "three", "four", "five", "six", "eight", "ten", "twelve")
OPENINGS = (
    "Hello,", "Dear team,", "Good morning,", "Hi,", "To whom it may concern,", "Dear support,",
    "Hello again,", "Hi there,",
)  # fmt: skip
BETWEEN = (
    "This is about order {order}.", "My order is {order}.", "Order {order}.", "",
)  # fmt: skip
CLOSINGS = (
    "Please help.", "Thank you.", "Kind regards", "I am waiting for your answer.",
    "This is the second time that I write.", "Can you call me back?", "Thanks in advance.", "",
)  # fmt: skip

DEPARTMENTS = tuple(INTENTS)
INTENT_NAMES = tuple(name for intents in INTENTS.values() for name in intents)  # department-major


@dataclass(frozen=True, eq=False)
class Tickets:
    """The letters as trained and tested on, and what is known of them."""

    train_texts: list[str]
    train_labels: NDArray[np.int64]  # (1200,) of DEPARTMENTS, wrong ones among them
    train_intents: NDArray[np.int64]  # (1200,) of INTENT_NAMES
    test_texts: list[str]
    test_labels: NDArray[np.int64]  # (300,)
    test_intents: NDArray[np.int64]  # (300,)
    wrong: NDArray[np.int64]  # training letters of a wrong label, ascending
    copies: NDArray[np.int64]  # training letters that are copies, ...
    originals: NDArray[np.int64]  # ... of these test letters


@cache
def load_tickets(seed: int = SEED) -> Tickets:
    """The letters: made once a process, always the same."""
    letters = [_letter(number, seed) for number in range(N_TRAIN + N_TEST)]
    texts = [text for text, _ in letters]
    intents = np.array([intent for _, intent in letters])
    labels = intents // len(SHARES)
    train, test = slice(N_TRAIN), slice(N_TRAIN, None)

    places = _order("places", N_TRAIN, seed)
    copies, wrong = places[:N_COPIES], np.sort(places[N_COPIES : N_COPIES + N_WRONG])
    originals = _order("original", N_TEST, seed)[:N_COPIES]
    train_texts, train_labels, train_intents = texts[train], labels[train].copy(), intents[train]
    for copy, original in zip(copies.tolist(), originals.tolist(), strict=True):
        train_texts[copy] = texts[N_TRAIN + original]
    train_labels[copies], train_intents[copies] = labels[test][originals], intents[test][originals]
    steps = stream_words("labels", seed=seed, index=0, count=N_WRONG) % np.uint64(
        len(DEPARTMENTS) - 1
    )
    train_labels[wrong] = (train_labels[wrong] + 1 + steps.astype(np.int64)) % len(DEPARTMENTS)
    return Tickets(
        train_texts, train_labels, train_intents, texts[test], labels[test], intents[test],
        wrong, copies, originals,
    )  # fmt: skip


def _letter(number: int, seed: int) -> tuple[str, int]:
    """Text and intent of one letter."""
    words = iter(stream_words("letter", seed=seed, index=number, count=16).tolist())

    def pick(choices: tuple[str, ...]) -> str:
        return choices[next(words) % len(choices)]

    department = next(words) % len(DEPARTMENTS)
    place = next(words) % sum(SHARES)
    kind = int(np.searchsorted(np.cumsum(SHARES), place, side="right"))
    intent = department * len(SHARES) + kind
    sentences = list(INTENTS[DEPARTMENTS[department]][INTENT_NAMES[intent]])
    first = sentences.pop(next(words) % len(sentences))
    second = sentences[next(words) % len(sentences)] if next(words) % 3 == 0 else ""
    parts = [pick(OPENINGS), first, second, pick(BETWEEN), pick(CLOSINGS)]
    order = str(10_000 + next(words) % 90_000)
    slots = {"item": pick(ITEMS), "price": pick(PRICES), "days": pick(DAYS), "order": order}
    filled = [part.format(**slots) for part in parts if part]
    return " ".join(part[0].upper() + part[1:] for part in filled), intent


def _order(stream: str, count: int, seed: int) -> NDArray[np.int64]:
    return np.argsort(stream_words(stream, seed=seed, index=0, count=count), kind="stable")
