"""The kinds of functions that an estimator is made of, and the built-in ones."""

from collections.abc import Callable

from common.extensions import Call, Extension
from common.policy_gradient import advantages, rewards, surrogates
from common.policy_gradient.advantages import Stateful

REWARDS: dict[str, Callable] = {
    "correct": rewards.correct,
    "signed": rewards.signed,
    "log_probability": rewards.log_probability,
    "clipped_linear": rewards.clipped_linear,
    "gain": rewards.gain,
}
ADVANTAGES: dict[str, Callable | Stateful] = {
    "plain_return": advantages.plain_return,
    "moving_average": advantages.moving_average,
    "learned_baseline": advantages.learned_baseline,
    "leave_one_out": advantages.leave_one_out,
    "gae": advantages.gae,
    "vimco": advantages.vimco,
}
SURROGATES: dict[str, Callable] = {
    "score_function": surrogates.score_function,
    "ppo_clip": surrogates.ppo_clip,
    "pathwise": surrogates.pathwise,
    "multi_sample": surrogates.multi_sample,
}
# The numbers of an `EstimatorConfig` that an advantage or a surrogate receives if it has an argument of that name.
HYPERPARAMETERS = ("discount", "gae_lambda", "moving_average_decay", "clip_ratio")

REWARD = Extension("reward", REWARDS, Call(("logits", "labels")))
_ADVANTAGE = Call(("rewards", "episode"), optional=(*HYPERPARAMETERS, "counted"))
ADVANTAGE = Extension(
    "advantage",
    ADVANTAGES,
    _ADVANTAGE,
    alternatives={
        Stateful: {
            "init": Call(("num_glimpses",)),
            "update": Call(("rewards", "episode", "estimator_state"), optional=_ADVANTAGE.optional),
        }
    },
)
SURROGATE = Extension(
    "surrogate",
    SURROGATES,
    Call(("log_probs", "behaviour_log_probs", "advantages"), optional=(*HYPERPARAMETERS, "rewards", "counted")),
)
