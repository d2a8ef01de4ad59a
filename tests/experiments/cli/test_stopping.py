"""Requests to stop."""

import signal

import pytest

from experiments.cli.stopping import Stop


@pytest.mark.parametrize(
    "sent, requests",
    [
        (["SIGINT"], 1),
        (["SIGTERM"], 1),
        (["SIGHUP"], 1),
        (["SIGINT", "SIGINT"], 2),
        (["SIGHUP", "SIGTERM"], 2),
        (["SIGHUP", "SIGHUP", "SIGHUP"], 1),  # The shell and the system send one each when a terminal closes.
    ],
)
def test_requests_are_counted_and_the_first_is_announced(sent, requests):
    announced, before = [], [signal.getsignal(getattr(signal, name)) for name in sent]
    with Stop(announced.append) as stop:
        for name in sent:
            signal.raise_signal(getattr(signal, name))
    assert (stop.requests, announced) == (requests, [getattr(signal, sent[0])])
    assert [signal.getsignal(getattr(signal, name)) for name in sent] == before


def test_an_ignored_hangup_stays_ignored():
    """nohup starts a program so."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Stop() as stop:
            signal.raise_signal(signal.SIGHUP)
        assert stop.requests == 0 and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
