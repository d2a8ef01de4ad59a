"""Policy-gradient estimators on cluttered60: the same images, episodes and hybrid loss for all, three seeds."""

from experiments.sweeps.study import Study

# All see 32 images a step in 4 replicates. Where a reward for each glimpse makes sense it is the preset's, the gain
# with discount 0.3; pathwise and the multi-sample bound are defined on the label's log-probability.
ESTIMATORS = {
    "plain_return": ("plain_return", "score_function", "gain", 0.3, 1),
    "moving_average": ("moving_average", "score_function", "gain", 0.3, 1),
    "learned_baseline": ("learned_baseline", "score_function", "gain", 0.3, 1),
    "leave_one_out": ("leave_one_out", "score_function", "gain", 0.3, 1),
    "gae": ("gae", "score_function", "gain", 0.3, 1),
    "ppo": ("learned_baseline", "ppo_clip", "gain", 0.3, 2),
    "pathwise": ("plain_return", "pathwise", "log_probability", 1.0, 1),
    "multi_sample": ("vimco", "multi_sample", "log_probability", 1.0, 1),
}
FIELDS = ("advantage", "surrogate", "reward", "discount", "passes")

study = Study(
    family="ram",
    preset="cluttered60_dense",
    zipped=[dict(zip(FIELDS, zip(*ESTIMATORS.values(), strict=True), strict=True))],
    seeds=3,
    overrides={"steps": 3000, "batch_size": 32, "replicates": 4, "evaluate_every": 1000},
    name="estimators",
)
