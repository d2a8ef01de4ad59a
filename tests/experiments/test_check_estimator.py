"""The command that checks estimators of your own: kinds, the table, exit statuses, bad input."""

import sys

import pytest

from experiments import check_estimator
from experiments.check_estimator import CheckConfig, find_kind

MODULE = """
from common.policy_gradient import Stateful
from common.policy_gradient.advantages import plain_return

def gain(logits, labels):
    return logits[..., 0] - logits[..., 1] * labels[None, None]

def offset(rewards, episode, *, discount):
    return plain_return(rewards, episode, discount=discount) - 0.5

def doubled(rewards, episode, *, discount):
    return 2 * plain_return(rewards, episode, discount=discount)

def negative(log_probs, behaviour_log_probs, advantages):
    return (log_probs * advantages).sum(axis=0).mean()

counting = Stateful(lambda num_glimpses: (), lambda rewards, episode, state: (rewards, state))
unclear = lambda first, second: first
"""


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    """A module of the user's in the current folder."""
    (tmp_path / "to_check.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.setenv("COLUMNS", "200")
    yield
    sys.modules.pop("to_check", None)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("to_check:gain", "reward"),
        ("to_check:offset", "advantage"),
        ("to_check:counting", "advantage"),
        ("to_check:negative", "surrogate"),
        ("signed", "reward"),
        ("moving_average", "advantage"),
        ("ppo_clip", "surrogate"),
    ],
)
def test_the_kind_of_a_function_is_found_from_its_arguments(name, kind):
    assert find_kind(name)[0].name == kind


def test_a_function_that_passes_exits_with_status_0_and_prints_every_check(capsys):
    check_estimator.main(["to_check:offset"])
    out = capsys.readouterr().out
    assert "unbiased where the gradient has a closed form" in out and "failed" not in out


def test_a_failed_check_is_shown_and_exits_with_status_1(capsys):
    with pytest.raises(SystemExit) as stop:
        check_estimator.main(["to_check:doubled"])
    out, err = capsys.readouterr()
    assert stop.value.code == 1 and "failed" in out and err == "2 of 10 checks failed\n"


def test_a_bias_that_is_expected_is_measured_and_does_not_fail():
    results = check_estimator.check(CheckConfig("to_check:doubled", biased=True))
    assert [result.outcome for result in results[:2]] == ["biased", "biased"]
    assert "of the gradient; declared: --biased" in results[0].detail
    assert all(result.outcome != "failed" for result in results)


def test_a_reward_is_checked_alone():
    results = check_estimator.check(CheckConfig("to_check:gain"))
    assert {result.outcome for result in results} == {"passed"} and len(results) == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("sined", "unknown function 'sined': did you mean 'signed'? choose from correct, signed, "),
        ("sined", "vimco, score_function, ppo_clip, pathwise, multi_sample, or give module:name"),
        ("to_check:missing", "function 'to_check:missing': module 'to_check' has no 'missing'; choose from correct, "),
        ("nowhere:f", "function 'nowhere:f': No module named 'nowhere'; choose from correct, signed, "),
        ("nowhere:f --kind reward", "reward 'nowhere:f': No module named 'nowhere'; choose from correct, signed, "),
        ("signed --kind surrogate", "unknown surrogate 'signed': choose from score_function, "),
        ("math:pi", "function 'math:pi': no reward: not a function; no advantage: not a function; no surrogate: not"),
        ("builtins:len", "no advantage: too many positional arguments; it is called with (rewards, episode)"),
        ("to_check:unclear", "could be a reward or an advantage: give --kind"),
        ("to_check:gain --kind surrogate", "it is called with (log_probs, behaviour_log_probs, advantages)"),
        ("to_check:gain --kind metric", "--kind"),
        ("", "function"),
    ],
)
def test_bad_input_is_one_line_and_exits_with_status_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        check_estimator.main(arguments.split())
    out, err = capsys.readouterr()
    assert stop.value.code == 2 and out == "" and len(err.splitlines()) == 1 and message in err
