"""RAM in PyTorch, written like public implementations: the program that `training_speed` compares with.

It has the model, hybrid loss and optimiser of ``ram`` with its default loss; a test copies the parameters and checks
that glimpses, losses and gradients are the same. It runs eagerly, with a Python loop over glimpses. The retina crops a
padded image at each scale and average-pools it. M replicates repeat the batch M times.

The retina takes most of the time, so there are two. The simple one, as in public implementations, pads the batch for
each glimpse and scale and slices one image after the other. The tuned one, the fastest of six, pads once an episode and
crops all images at once as windows of a strided view.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from common.attention.config import LossConfig, RetinaConfig
from common.attention.locations import parse_sigma
from common.networks.glimpse_networks import GLIMPSE_GAIN
from common.training.optimizers import OptimizerConfig
from ram.config import RamConfig

try:
    import torch
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "PyTorch is not installed: pip install '.[benchmark]', or leave it out with --no-torch", name="torch"
    ) from error
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Normal

# The only values of `RamConfig` that this implementation supports; sizes, sigma and loss weights are free.
SUPPORTED: dict[str, dict[str, Any]] = {
    "agent": {
        "glimpse_network": "dense",
        "combine": "add",
        "core": "lstm",
        "location_network_hidden": 0,
        "mean_activation": "tanh",
    },
    "policy": {
        "locations": "learned",
        "location_policy": "gaussian",
        "first_location": "centre",
        "sigma_schedule": "constant",
        "learned_sigma": "no",
    },
    "loss": {"classify_at": "every", "entropy_weight": 0.0, "policy_gradient_into": "core"},
    "estimator": {
        "reward": "correct",
        "advantage": "learned_baseline",
        "discount": 1.0,
        "surrogate": "score_function",
        "antithetic": False,
        "normalise_advantages": False,
        "passes": 1,
        "minibatches": 1,
    },
}


def check_supported(config: RamConfig) -> None:
    """Check that this implementation supports a configuration.

    Raises:
      ValueError: it does not; quotes the value and says what is allowed.
    """
    for group, fields in SUPPORTED.items():
        for name, allowed in fields.items():
            value = getattr(getattr(config, group), name)
            if value != allowed:
                raise ValueError(f"{name} {value!r}: the PyTorch implementation has only {allowed!r}")


def reach(retina: RetinaConfig) -> int:
    """Return half of the coarsest patch in pixels: how far a glimpse at the edge reaches beyond the image."""
    return math.ceil(retina.glimpse_size * retina.growth ** (retina.num_scales - 1) / 2)


def upper_left(
    locations: Float[Tensor, "N 2"], extent: int, border: int, height: int, width: int
) -> Int[Tensor, "N 2"]:
    """Return the first pixel (x, y) of patches ``extent`` pixels wide, in images padded by ``border`` pixels."""
    centre = (locations + 1) / 2 * locations.new_tensor([width, height])
    return torch.floor(centre - extent / 2 + 0.5).long() + border


def glimpse(
    images: Float[Tensor, "N C H W"], locations: Float[Tensor, "N 2"], retina: RetinaConfig
) -> Float[Tensor, "N K G G C"]:
    """Take glimpses with the simple retina: pad at each scale, slice image by image, average-pool.

    Args:
      images: in [0, 1].
      locations: normalised (x, y) in [-1, 1].
      retina: the retina's geometry.
    """
    height, width = images.shape[-2:]
    patches = []
    for scale in range(retina.num_scales):
        side = retina.growth**scale
        extent = retina.glimpse_size * side
        border = math.ceil(extent / 2)
        padded = F.pad(images, (border,) * 4)
        corners = upper_left(locations, extent, border, height, width).tolist()
        crops = [image[:, y : y + extent, x : x + extent] for image, (x, y) in zip(padded, corners, strict=True)]
        patches.append(F.avg_pool2d(torch.stack(crops), side))
    return torch.stack(patches, dim=1).permute(0, 1, 3, 4, 2)


def tuned_glimpse(
    padded: Float[Tensor, "N C H_padded W_padded"], locations: Float[Tensor, "N 2"], retina: RetinaConfig
) -> Float[Tensor, "N K G G C"]:
    """Take glimpses with the tuned retina: crop all images at once at each scale, average-pool.

    Args:
      padded: images in [0, 1], surrounded by `reach` pixels of zeros.
      locations: normalised (x, y) in [-1, 1].
      retina: the retina's geometry.
    """
    border = reach(retina)
    height, width = (side - 2 * border for side in padded.shape[-2:])
    image = torch.arange(len(padded), device=padded.device)
    patches = []
    for scale in range(retina.num_scales):
        side = retina.growth**scale
        extent = retina.glimpse_size * side
        x, y = upper_left(locations, extent, border, height, width).unbind(-1)
        windows = padded.unfold(2, extent, 1).unfold(3, extent, 1)
        patches.append(F.avg_pool2d(windows[image, :, y, x], side))
    return torch.stack(patches, dim=1).permute(0, 1, 3, 4, 2)


class TorchEpisode(NamedTuple):
    """Episodes of T glimpses on N images. The first location is fixed, the other T - 1 are actions of the policy.

    Attributes:
      locations: locations of the glimpses, normalised ``[T, N, 2]``.
      logits: class logits after each glimpse ``[T, N, num_classes]``.
      modes: mean of the policy for each location after the first ``[T - 1, N, 2]``.
      log_probs: log-probability of these locations before they were clipped to the image ``[T - 1, N]``.
      values: predicted return before these locations were sampled ``[T - 1, N]``.
    """

    locations: Float[Tensor, "T N 2"]
    logits: Float[Tensor, "T N num_classes"]
    modes: Float[Tensor, "moves N 2"]
    log_probs: Float[Tensor, "moves N"]
    values: Float[Tensor, "moves N"]


class TorchRam(nn.Module):
    """RAM: glimpse network, core, and location, action and value networks, unrolled over an episode.

    Args:
      config: configuration of the agent.
      height: rows H of the images.
      width: columns W of the images.
      channels: channels C of the images.
      num_classes: number of classes.
      tuned: whether to use the tuned retina.

    Raises:
      ValueError: a configuration that this implementation does not support.
    """

    sigma: Tensor

    def __init__(
        self, config: RamConfig, height: int, width: int, channels: int, num_classes: int, *, tuned: bool = False
    ):
        super().__init__()
        check_supported(config)
        agent, self.retina, self.num_glimpses = config.agent, config.retina, config.agent.num_glimpses
        self.tuned = tuned
        values = self.retina.num_scales * self.retina.glimpse_size**2 * channels
        self.glimpse = nn.Linear(values, agent.glimpse_hidden)
        self.glimpse_out = nn.Linear(agent.glimpse_hidden, agent.glimpse_features)
        self.location = nn.Linear(2, agent.location_hidden)
        self.location_out = nn.Linear(agent.location_hidden, agent.glimpse_features)
        self.core = nn.LSTMCell(agent.glimpse_features, agent.core_hidden)
        self.mean = nn.Linear(agent.core_hidden, 2)
        self.logits = nn.Linear(agent.core_hidden, num_classes)
        self.value = nn.Linear(agent.core_hidden, 1)
        sigma = torch.tensor(parse_sigma(config.policy.sigma, height, width))
        self.register_buffer("sigma", sigma, persistent=False)

    def features(
        self, glimpses: Float[Tensor, "N K G G C"], locations: Float[Tensor, "N 2"]
    ) -> Float[Tensor, "N features"]:
        """Compute glimpse features ``relu(glimpse + location)`` from glimpses in [0, 1] and normalised locations."""
        of_glimpse = self.glimpse_out(F.relu(self.glimpse(GLIMPSE_GAIN * glimpses.flatten(1))))
        of_location = self.location_out(F.relu(self.location(locations)))
        return F.relu(of_glimpse + of_location)

    def forward(
        self, images: Float[Tensor, "N C H W"], samples: Float[Tensor, "moves N 2"] | None = None
    ) -> TorchEpisode:
        """Unroll an episode that starts at the centre.

        Args:
          images: images in [0, 1].
          samples: the locations after the first; None to sample them from the policy.
        """
        take_glimpse: Callable[[Tensor, Tensor, RetinaConfig], Tensor] = glimpse
        if self.tuned:
            take_glimpse, images = tuned_glimpse, F.pad(images, (reach(self.retina),) * 4)
        location = images.new_zeros(len(images), 2)
        hidden = cell = images.new_zeros(len(images), self.core.hidden_size)
        locations, logits, modes, log_probs, values = [], [], [], [], []
        for t in range(self.num_glimpses):
            if t:
                mean = torch.tanh(self.mean(hidden))
                policy = Normal(mean, self.sigma, validate_args=False)
                sample = policy.sample() if samples is None else samples[t - 1]
                location = sample.clamp(-1, 1)
                modes.append(mean)
                log_probs.append(policy.log_prob(sample).sum(-1))
                values.append(self.value(hidden.detach()).squeeze(-1))
            patches = take_glimpse(images, location, self.retina)
            hidden, cell = self.core(self.features(patches, location), (hidden, cell))
            locations.append(location)
            logits.append(self.logits(hidden))
        return TorchEpisode(*(torch.stack(x) for x in (locations, logits, modes, log_probs, values)))


def hybrid_loss(weights: LossConfig, episode: TorchEpisode, labels: Int[Tensor, " N"]) -> Float[Tensor, ""]:
    """Compute the hybrid loss: cross-entropy at every glimpse, REINFORCE with a learned baseline, and value error.

    Args:
      weights: the weights of the three terms.
      episode: T glimpses on N images.
      labels: true classes.
    """
    glimpses = len(episode.logits)
    classification = F.cross_entropy(episode.logits.flatten(0, 1), labels.repeat(glimpses))
    reward = (episode.logits[-1].detach().argmax(-1) == labels).float()
    advantage = reward - episode.values.detach()
    policy = -(episode.log_probs * advantage).sum(0).mean()
    value_error = F.mse_loss(episode.values, reward.expand_as(episode.values))
    return (
        weights.classification_weight * classification
        + weights.policy_weight * policy
        + weights.value_weight * value_error
    )


class TorchTrainer:
    """Training by Adam on batches sampled from images in memory, with the norm of the gradient clipped.

    Args:
      config: the agent and its loss, with M replicates.
      optimizer: the constant learning rate and the largest norm.
      images: uint8 ``[pool, H, W, C]``, kept on the device.
      labels: ``[pool]``.
      num_classes: number of classes.
      batch_size: images B in a batch.
      device: device of PyTorch.
      seed: seed of parameters, batches and locations.
      tuned: whether to use the tuned retina.
    """

    def __init__(
        self,
        config: RamConfig,
        optimizer: OptimizerConfig,
        images: UInt8[np.ndarray, "pool H W C"],
        labels: Int[np.ndarray, " pool"],
        *,
        num_classes: int,
        batch_size: int,
        device: str = "cpu",
        seed: int = 0,
        tuned: bool = False,
    ):
        torch.manual_seed(seed)
        self.weights, self.replicates = config.loss, config.estimator.replicates
        self.clip, self.batch_size = optimizer.gradient_clip, batch_size
        self.images = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).to(device)
        self.labels = torch.from_numpy(np.asarray(labels, np.int64)).to(device)
        _, height, width, channels = images.shape
        self.model = TorchRam(config, height, width, channels, num_classes, tuned=tuned).to(device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=optimizer.learning_rate)

    def step(self) -> Float[Tensor, ""]:
        """Make one training step and return the loss, which a GPU may still be computing."""
        index = torch.randint(len(self.labels), (self.batch_size,), device=self.images.device)
        replicates = self.replicates
        images = (self.images[index].float() / 255).repeat(replicates, 1, 1, 1)
        loss = hybrid_loss(self.weights, self.model(images), self.labels[index].repeat(replicates))
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step()
        return loss.detach()
