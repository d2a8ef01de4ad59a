"""Configurations that are accepted, and the errors of those that are not."""

import math
from dataclasses import replace

import pytest

from common.attention.config import LossConfig, PolicyConfig, RetinaConfig, make_retina
from common.attention.glimpse import Retina
from common.policy_gradient import EstimatorConfig
from ram.config import AgentConfig, RamConfig, validate

DEFAULT = RamConfig()


def _with(part, **fields):
    return replace(DEFAULT, **{part: replace(getattr(DEFAULT, part), **fields)})


@pytest.mark.parametrize(
    ("part", "fields", "quoted"),
    [
        ("retina", {"glimpse_size": 0}, "glimpse_size 0"),
        ("retina", {"glimpse_size": -3}, "glimpse_size -3"),
        ("retina", {"glimpse_size": 101}, "glimpse_size 101"),
        ("retina", {"num_scales": 0}, "num_scales 0"),
        ("retina", {"num_scales": 7}, "num_scales 7"),
        ("retina", {"glimpse_size": 100, "num_scales": 3}, "num_scales 3"),
        ("retina", {"growth": 0}, "growth 0"),
        ("retina", {"growth": 1, "num_scales": 2}, "growth 1"),
        ("agent", {"num_glimpses": 0}, "num_glimpses 0"),
        ("agent", {"num_glimpses": 201}, "num_glimpses 201: must be from 1 to 200"),
        ("agent", {"glimpse_hidden": 0}, "glimpse_hidden 0"),
        ("agent", {"location_hidden": -1}, "location_hidden -1"),
        ("agent", {"glimpse_features": 0}, "glimpse_features 0"),
        ("agent", {"core_hidden": 0}, "core_hidden 0"),
        ("agent", {"core_heads": 0}, "core_heads 0"),
        ("agent", {"core": "transformer", "core_heads": 3}, "core_heads 3"),
        ("agent", {"location_network_hidden": -1}, "location_network_hidden -1"),
        ("agent", {"conv_channels": 0}, "conv_channels 0: must be at least 1"),
        (
            "agent",
            {"core": "lsmt"},
            "unknown core 'lsmt': did you mean 'lstm'? choose from rnn, lstm, gru, transformer",
        ),
        ("agent", {"core": "ram.networks:GlimpseNetwork"}, "core 'ram.networks:GlimpseNetwork': has no initial_state"),
        ("agent", {"glimpse_network": "convs"}, "unknown glimpse_network 'convs': did you mean 'conv'?"),
        ("agent", {"glimpse_network": "math:sqrt"}, "glimpse_network 'math:sqrt': not a Module"),
        ("policy", {"location_policy": "gausian"}, "unknown location_policy 'gausian': did you mean 'gaussian'?"),
        ("policy", {"sigma": "0"}, "'0'"),
        ("policy", {"sigma": "-5px"}, "'-5px'"),
        ("policy", {"sigma": "wide"}, "'wide'"),
        ("policy", {"sigma_final": "2px"}, "'2px'"),
        ("policy", {"sigma_schedule": "linear"}, "'linear'"),
        ("policy", {"sigma_schedule": "cosine", "sigma_final": "nan"}, "sigma_final 'nan': give a positive number"),
        (
            "policy",
            {"sigma": "5"},
            "sigma '5': must be at most 2, the side of the image, unless in pixels, such as '5px'",
        ),
        ("estimator", {"replicates": 0}, "replicates 0"),
        ("estimator", {"discount": -0.1}, "discount -0.1"),
        ("estimator", {"discount": 1.5}, "discount 1.5"),
        ("estimator", {"discount": math.nan}, "discount nan"),
        ("loss", {"classification_weight": -1.0}, "classification_weight -1.0"),
        ("loss", {"policy_weight": math.inf}, "policy_weight inf"),
        ("loss", {"value_weight": math.nan}, "value_weight nan"),
        ("loss", {"entropy_weight": -0.01}, "entropy_weight -0.01"),
    ],
)
def test_a_bad_configuration_is_quoted(part, fields, quoted):
    with pytest.raises(ValueError) as error:
        validate(_with(part, **fields), 100, 100)
    assert quoted in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("config", "height", "width"),
    [
        (DEFAULT, 100, 100),
        (RamConfig(RetinaConfig(28, 1)), 28, 28),
        (RamConfig(RetinaConfig(8, 1, growth=1)), 28, 28),
        (RamConfig(RetinaConfig(12, 3)), 20, 60),
        (RamConfig(RetinaConfig(12, 5)), 100, 100),
        (RamConfig(agent=AgentConfig(num_glimpses=1, core="transformer", core_heads=8)), 100, 100),
        (RamConfig(agent=AgentConfig(core="gru", core_hidden=7)), 100, 100),
        (RamConfig(policy=PolicyConfig(sigma="0.3", sigma_final="2px", sigma_schedule="exponential")), 100, 100),
        (
            RamConfig(
                loss=LossConfig(policy_weight=0.0, classification_weight=0.0), estimator=EstimatorConfig(discount=0.0)
            ),
            100,
            100,
        ),
    ],
)
def test_a_good_configuration_passes(config, height, width):
    validate(config, height, width)


def test_convolutions_need_a_large_enough_glimpse():
    conv = RamConfig(RetinaConfig(6, 2), AgentConfig(glimpse_network="conv"))
    with pytest.raises(ValueError, match="glimpse_size 6 with glimpse_network 'conv': .* at least 7"):
        validate(conv, 100, 100)
    validate(replace(conv, retina=RetinaConfig(7, 2)), 100, 100)


def test_the_last_useful_scale_is_the_last_allowed():
    # 12, 24, 48, 96 and 192 pixels; 384 would see as much as 192 from the corner of 96 x 96 pixels: all of it.
    validate(RamConfig(RetinaConfig(12, 5)), 96, 96)
    with pytest.raises(ValueError, match="num_scales 6: with growth 2 .* whole .* at scale 5, so at most 5"):
        validate(RamConfig(RetinaConfig(12, 6)), 96, 96)


def test_make_retina():
    assert make_retina(RetinaConfig(5, 3, 4)) == Retina(size=5, scales=3, growth=4)
