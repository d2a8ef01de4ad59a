"""Named configurations, each with the line that ``--help`` shows."""

from common.baselines import BaselineConfig
from common.training import OptimizerConfig
from experiments.config import CnnExperiment, DataConfig, RamExperiment, TrainingConfig
from ram.config import AgentConfig, LossConfig, PolicyConfig, RamConfig, RetinaConfig

LARGE_RETINA = RetinaConfig(glimpse_size=12, num_scales=4)
MEDIUM_RETINA = RetinaConfig(glimpse_size=12, num_scales=3)
SMALL_RETINA = RetinaConfig(glimpse_size=8, num_scales=1)

RAM_PRESETS: dict[str, tuple[str, RamExperiment]] = {
    "quick": (
        "augmented100",
        RamExperiment(
            data=DataConfig(task="augmented100"),
            model=RamConfig(retina=LARGE_RETINA),
            training=TrainingConfig(steps=20_000),
        ),
    ),
}
