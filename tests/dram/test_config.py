"""Configurations that are accepted, and the errors of those that are not."""

import math
from dataclasses import replace

import pytest

from common.attention.config import PolicyConfig, RetinaConfig
from common.policy_gradient import EstimatorConfig
from common.unread import unread_settings
from dram.config import AgentConfig, DramConfig, num_glimpses, validate

DEFAULT = DramConfig()
TARGETS = 3


def _with(part, **fields):
    return replace(DEFAULT, **{part: replace(getattr(DEFAULT, part), **fields)})


@pytest.mark.parametrize(
    ("part", "fields", "quoted"),
    [
        ("retina", {"glimpse_size": 0}, "glimpse_size 0"),
        ("retina", {"glimpse_size": 121}, "glimpse_size 121"),
        ("retina", {"num_scales": 7}, "num_scales 7"),
        ("agent", {"glimpses_per_target": 0}, "glimpses_per_target 0: must be at least 1"),
        (
            "agent",
            {"glimpses_per_target": 67},
            "glimpses_per_target 67: an episode of 3 targets has at most 200 glimpses, so at most 66",
        ),
        ("agent", {"conv_channels": 0}, "conv_channels 0"),
        ("agent", {"glimpse_features": -1}, "glimpse_features -1"),
        ("agent", {"lower_hidden": 0}, "lower_hidden 0"),
        ("agent", {"upper_hidden": 0}, "upper_hidden 0"),
        ("agent", {"context_size": 0}, "context_size 0: must be at least 1"),
        ("agent", {"context_size": 101}, "context_size 101: the coarse image cannot be larger than the 100x120 image"),
        ("agent", {"context_channels": 0}, "context_channels 0"),
        ("agent", {"unit_width": "0px"}, "unit_width '0px': give a positive number, normalised ('0.1') or in pixels"),
        ("agent", {"unit_width": "wide"}, "unit_width 'wide'"),
        ("agent", {"unit_width": "20px"}, "unit_width '20px' with mean_activation 'tanh': locations further from"),
        (
            "agent",
            {"core": "transformer"},
            "unknown core 'transformer': choose from rnn, lstm, gru, or give module:name",
        ),
        ("agent", {"core": "gur"}, "unknown core 'gur': did you mean 'gru'?"),
        ("agent", {"glimpse_network": "denss"}, "unknown glimpse_network 'denss': did you mean 'dense'?"),
        ("policy", {"location_policy": "grid"}, "unknown location_policy 'grid': choose from gaussian, or give module"),
        ("policy", {"sigma": "-5px"}, "sigma '-5px'"),
        ("policy", {"sigma_schedule": "linear"}, "'linear'"),
        ("loss", {"policy_weight": math.inf}, "policy_weight inf"),
        ("estimator", {"replicates": 0}, "replicates 0"),
        ("estimator", {"reward": "gian"}, "'gian'"),
        ("estimator", {"reward": "log_probability"}, "reward 'log_probability' with stop_at_wrong"),
    ],
)
def test_a_bad_configuration_is_quoted(part, fields, quoted):
    with pytest.raises(ValueError) as error:
        validate(_with(part, **fields), 100, 120, TARGETS)
    assert quoted in str(error.value) and "\n" not in str(error.value)


def test_settings_of_the_upper_core_and_of_the_context_are_not_read_without_them():
    assert unread_settings(AgentConfig(two_layers=False, context=False)) == {
        **dict.fromkeys(("upper_hidden", "stop_gradient"), " with two_layers False"),
        **dict.fromkeys(("context_size", "context_channels"), " with context False"),
    }


def test_convolutions_need_a_large_enough_glimpse():
    conv = replace(DEFAULT, agent=AgentConfig(glimpse_network="conv"), retina=RetinaConfig(6, 2))
    with pytest.raises(ValueError, match="glimpse_size 6 with glimpse_network 'conv': .* at least 7"):
        validate(conv, 100, 100, None)
    validate(replace(conv, retina=RetinaConfig(7, 2)), 100, 100, None)


@pytest.mark.parametrize(
    ("config", "targets"),
    [
        (DEFAULT, None),
        (DEFAULT, 6),
        (_with("agent", glimpses_per_target=200), None),
        (_with("agent", glimpses_per_target=66), TARGETS),
        (_with("agent", two_layers=False), TARGETS),
        (_with("agent", stop_gradient=True), TARGETS),
        # Without context its size does not matter.
        (_with("agent", context=False, context_size=1000), TARGETS),
        (_with("agent", unit_width="20px", mean_activation="linear", core="gru", upper_hidden=5), TARGETS),
        (replace(_with("agent", stop_at_wrong=False), estimator=EstimatorConfig("log_probability")), TARGETS),
        (_with("estimator", reward="log_probability"), None),
        (_with("policy", sigma="0.3", sigma_final="2px", sigma_schedule="exponential"), TARGETS),
        (replace(DEFAULT, policy=PolicyConfig(locations="random")), TARGETS),
    ],
)
def test_a_good_configuration_passes(config, targets):
    validate(config, 100, 100, targets)


@pytest.mark.parametrize(("each", "targets", "total"), [(4, None, 4), (2, 3, 6), (3, 6, 18), (1, 1, 1)])
def test_an_episode_has_the_glimpses_of_all_its_targets(each, targets, total):
    assert num_glimpses(_with("agent", glimpses_per_target=each), targets) == total
