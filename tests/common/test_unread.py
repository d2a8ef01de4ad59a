"""Settings that nothing reads are named with the reason, of configurations and of what users plug in."""

from dataclasses import dataclass
from typing import Annotated, NamedTuple

import pytest

from common.checks import Range
from common.extensions import Call, Extension
from common.unread import ReadBy, explain_unread, unread_settings


@dataclass(frozen=True)
class Bank:
    core: str = "rnn"
    heads: Annotated[int, Range(1), ReadBy("core", "transformer", "linear")] = 4


@dataclass(frozen=True)
class Config:
    context: bool = True
    size: Annotated[int, ReadBy("context", True)] = 16
    attention: str = "bank"
    pooling: Annotated[int, ReadBy("attention", "pooling")] = 1
    bank: Annotated[Bank, ReadBy("attention", "bank")] = Bank()


@pytest.mark.parametrize(
    ("config", "unread"),
    [
        (Config(attention="pooling", bank=Bank("linear")), {"core": "bank", "heads": "bank"}),
        (Config(bank=Bank("linear")), {"pooling": "pooling"}),
        (Config(), {"pooling": "pooling", "heads": "heads"}),
        (Config(context=False, bank=Bank("linear")), {"size": "size", "pooling": "pooling"}),
    ],
)
def test_fields_that_are_not_read_are_named(config, unread):
    reasons = {
        "bank": " with attention 'pooling': only 'bank' reads it",
        "pooling": " with attention 'bank': only 'pooling' reads it",
        "heads": " with core 'rnn': only 'transformer', 'linear' read it",
        "size": " with context False",
    }
    assert unread_settings(config) == {name: reasons[reason] for name, reason in unread.items()}


class Pair(NamedTuple):
    """Two functions in place of one."""

    init: object
    update: object


STATEFUL = {Pair: {"init": Call(("length",)), "update": Call(("rewards", "state"), optional=("discount", "rate"))}}


def both(rewards, *, rate): ...
def neither(rewards, **more): ...


READING = Extension("advantage", {"both": both, "neither": neither, "pair": Pair(neither, both)}, alternatives=STATEFUL)
OTHER = Extension("surrogate", {"plain": neither, "clipped": both, "scaled": both}, Call(("log_probs",)))


@pytest.mark.parametrize(
    ("advantage", "surrogate", "reason"),
    [
        ("both", "plain", None),
        ("neither", "clipped", None),
        ("pair", "plain", None),
        ("neither", "plain", " with advantage 'neither': only 'both', 'pair' read it"),
        ("math:sqrt", "plain", " with advantage 'math:sqrt': it names no argument or field rate"),
    ],
)
def test_a_setting_that_nothing_reads_is_explained(advantage, surrogate, reason):
    assert explain_unread("rate", (READING, advantage), (OTHER, surrogate)) == reason


def test_the_kind_that_could_read_a_setting_is_named():
    plain = Extension("advantage", {"neither": neither}, Call(("rewards",)))
    assert explain_unread("rate", (plain, "neither"), (OTHER, "plain")) == (
        " with surrogate 'plain': only 'clipped', 'scaled' read it"
    )
    wrong = Extension("advantage", {"pair": Pair(both, neither)}, alternatives=STATEFUL)
    assert "it names no argument" in explain_unread("rate", (wrong, "pair")), "init is given no hyperparameter"
