"""Checks of estimators: whether the gradient is unbiased, and which inputs it reaches.

The tests run these checks on the built-in estimators. ``python -m experiments.check_estimator module:function`` runs
them on your own. An estimator that is biased on purpose is declared with `common.policy_gradient.biased`: its bias is
then measured and reported, and fails no check.
"""

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from common.extensions import accepted
from common.policy_gradient.advantages import vimco
from common.policy_gradient.episode import Episode
from common.policy_gradient.estimator import Estimator, PolicyLoss, policy_loss

KEY = jax.random.key(17)
# Objectives other than the expected return, of the returns of the replicates ``[M]``, by advantage.
OBJECTIVES: dict[Any, Callable[[Array], Array]] = {
    vimco: lambda returns: jax.nn.logsumexp(returns) - jnp.log(len(returns)),
}
# Standard errors by which a mean of estimates may miss the exact gradient.
TOLERANCE = 4.5
IMAGES = 100_000


class CheckResult(NamedTuple):
    """The result of one check.

    Attributes:
      check: name of the check.
      outcome: ``passed``, ``failed``, ``biased`` (as declared), or ``skipped`` where the check does not apply.
      detail: the reason, or what was measured.
    """

    check: str
    outcome: Literal["passed", "failed", "biased", "skipped"]
    detail: str = ""


class _Skip(Exception):
    """A check does not apply to an estimator."""


class Failure(Exception):
    """A check failed; the message says why."""


class _Biased(Exception):
    """A gradient is not the exact one."""


def check_estimator(estimator: Estimator) -> Iterator[CheckResult]:
    """Run every check on an estimator.

    Args:
      estimator: reward, advantage and surrogate. The two checks of bias replace its reward by their own. All checks
        play two replicates of each image.

    Yields:
      A result for each of `CHECKS`. An error that a function raises fails the check.
    """
    declared = declared_bias(estimator)
    for name, check in CHECKS.items():
        yield run_check(name, functools.partial(check, estimator), declared)


def declared_bias(estimator: Estimator) -> str | None:
    """Return the reason for which an advantage or a surrogate is declared biased; None if neither is."""
    reasons = (getattr(part, "bias", None) for part in (estimator.advantage, estimator.surrogate))
    return next((reason for reason in reasons if reason), None)


def run_check(name: str, check: Callable[[], str | None], declared: str | None = None) -> CheckResult:
    """Run one check, which raises `Failure` or any other error if it fails.

    Args:
      name: name of the check.
      check: returns a detail, or None.
      declared: the reason of a declared bias; None if a bias fails the check.
    """
    try:
        return CheckResult(name, "passed", check() or "")
    except _Skip as reason:
        return CheckResult(name, "skipped", str(reason))
    except _Biased as error:
        if declared is None:
            return CheckResult(name, "failed", f"biased: {error}")
        return CheckResult(name, "biased", f"{error}; declared: {declared}")
    except Failure as error:
        return CheckResult(name, "failed", str(error))
    except Exception as error:  # Of a user's function, which may raise anything.
        lines = str(error).splitlines()
        return CheckResult(name, "failed", f"{type(error).__name__}: {lines[0] if lines else ''}")


def require(condition: Any, message: str) -> None:
    """Raise a `Failure` with the message unless the condition holds."""
    if not condition:
        raise Failure(message)


def require_finite(result: PolicyLoss, inputs: str = "random inputs") -> PolicyLoss:
    """Raise a `Failure` that names the value unless advantages and loss are finite; return them."""
    require(np.isfinite(result.advantages).all(), f"the advantages of {inputs} are not finite")
    require(np.isfinite(result.loss).all(), f"the surrogate of {inputs} is not finite")
    return result


def random_normal(*shape: int, seed: int = 0) -> Float[Array, "..."]:
    """Draw standard normal numbers of a shape."""
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def make_episode(
    log_probs: Float[Array, "T M B"], logits: Float[Array, "T M B num_classes"], values: Float[Array, "T M B"]
) -> Episode:
    """Make an episode of the fields that an estimator reads; the others are zeros."""
    zeros, locations = jnp.zeros(log_probs.shape), jnp.zeros((*log_probs.shape, 2))
    return Episode(locations, locations, locations, locations, log_probs, zeros, values, logits)


def used_state(estimator: Estimator, num_glimpses: int) -> Any:
    """Return the estimator state after two steps on random episodes; empty where there is none."""
    state = estimator.init_state(num_glimpses)
    if not jax.tree.leaves(state):
        return state
    random_rewards = estimator._replace(reward=lambda logits, labels: logits[..., 0])
    for seed in (101, 102):
        fields = [random_normal(num_glimpses, 2, 3, *shape, seed=seed + i) for i, shape in enumerate([(), (4,), ()])]
        state = policy_loss(random_rewards, make_episode(*fields), jnp.zeros(3, int), state).estimator_state
    return state


# Bias where the expected return has a closed form: two moves in x and y, with the rewards ``r_1 = -|l_1|^2`` and
# ``r_2 = -|l_1 + l_2 - target|^2``.
TARGET = np.array([0.7, -0.2])
MEANS, SIGMAS = np.array([[0.3, -0.4], [-0.5, 0.1]]), np.array([[0.5, 0.3], [0.8, 0.6]])


def _quadratic(samples: Array, labels: Array) -> Array:
    del labels
    target = jnp.broadcast_to(jnp.asarray(TARGET, jnp.float32), samples.shape[1:])
    rewards = [0 * samples[0], -jnp.square(samples[1]), -jnp.square(samples[1] + samples[2] - target)]
    return jnp.stack(rewards).sum(axis=-1)


def exact_gradient(discount: float) -> Float[np.ndarray, "2 2 2"]:
    """Return the gradient of ``E[r_1 + discount r_2]`` in the first mean and sigma, of ``E[r_2]`` in the second.

    Returns:
      ``[means and sigmas, moves, x and y]``.
    """
    gap = MEANS.sum(axis=0) - TARGET
    of_means = [-2 * MEANS[0] - 2 * discount * gap, -2 * gap]
    of_sigmas = [-2 * SIGMAS[0] * (1 + discount), -2 * SIGMAS[1]]
    return np.array([of_means, of_sigmas])


def gradient_estimates(estimator: Estimator, discount: float, images: int = IMAGES) -> Float[Array, "2 2 images 2"]:
    """Estimate the gradient of `exact_gradient` once for each image, with two replicates.

    Returns:
      ``[means and sigmas, moves, images, x and y]``.
    """
    estimator = estimator._replace(
        reward=_quadratic, hyperparameters={**estimator.hyperparameters, "discount": discount}
    )
    parameters = jnp.broadcast_to(jnp.asarray([MEANS, SIGMAS], jnp.float32)[:, :, None], (2, 2, images, 2))
    # Whatever is predicted before a location is drawn leaves the estimate unbiased.
    values = jnp.broadcast_to(jnp.array([0.0, 3.0, -1.0])[:, None, None], (3, 2, images))
    state = used_state(estimator, 3)

    def loss(parameters: Array) -> Array:
        # Both replicates have the parameters of their image.
        mean, sigma = (jnp.broadcast_to(p[:, None], (2, 2, images, 2)) for p in parameters)
        samples = mean + sigma * jax.random.normal(KEY, mean.shape)
        log_probs = jax.scipy.stats.norm.logpdf(jax.lax.stop_gradient(samples), mean, sigma).sum(axis=-1)
        samples = samples if estimator.pathwise else jax.lax.stop_gradient(samples)
        log_probs, samples = (jnp.concatenate([0 * part[:1], part]) for part in (log_probs, samples))
        return policy_loss(estimator, make_episode(log_probs, samples, values), jnp.zeros(images, int), state).loss

    # The loss is a mean over images, and is minimised.
    return -images * jax.jit(jax.grad(loss))(parameters)


def _relative_distance(estimate: np.ndarray, exact: np.ndarray) -> str:
    return f"{np.linalg.norm(estimate - exact) / np.linalg.norm(exact):.1%} of the gradient"


def _require_unbiased(condition: Any, relative: str) -> None:
    if not condition:
        raise _Biased(f"bias {relative}")


def _closed_form(estimator: Estimator) -> str:
    if estimator.advantage in OBJECTIVES:
        raise _Skip("another objective, which has no closed form here")
    discount = 1.0 if estimator.pathwise else 0.6
    estimates = np.asarray(gradient_estimates(estimator, discount), np.float64)
    exact, mean = exact_gradient(discount), estimates.mean(axis=2)
    error = estimates.std(axis=2, ddof=1) / np.sqrt(estimates.shape[2])
    require(np.isfinite(estimates).all(), "the gradient of the surrogate is not finite")
    require((error < 0.1).all(), f"too noisy to judge: standard error {error.max():.2g} of {IMAGES} estimates")
    distance = np.abs(mean - exact)
    relative = _relative_distance(mean, exact)
    _require_unbiased((distance <= TOLERANCE * error).all(), relative)
    return f"within noise: {relative}"


def _enumeration(estimator: Estimator) -> str:
    if estimator.pathwise:
        raise _Skip("a discrete choice has no pathwise gradient")
    # Two replicates of one image choose among three places twice; the second choice depends on the first.
    places = 3
    params = {"first": random_normal(places, seed=1), "second": random_normal(places, places, seed=2)}
    outcomes = jnp.array(list(itertools.product(range(places), repeat=4))).reshape(-1, 2, 2)
    of_first, of_both = random_normal(places, seed=4), random_normal(places, places, seed=5)
    objective, state = OBJECTIVES.get(estimator.advantage, jnp.mean), used_state(estimator, 2)

    def log_probs(params: Mapping[str, Array], outcome: Array) -> Array:
        first, second = outcome
        of_second = jax.nn.log_softmax(params["second"])[first, second]
        return jnp.stack([jax.nn.log_softmax(params["first"])[first], of_second])

    def received(outcome: Array) -> Array:
        return jnp.stack([of_first[outcome[0]], of_both[outcome[0], outcome[1]]])

    def loss(params: Mapping[str, Array], outcome: Array) -> tuple[Array, PolicyLoss]:
        rewarded = estimator._replace(reward=lambda logits, labels: received(outcome)[..., None])
        # The value before the second choice may depend on the first.
        values = random_normal(2, 2, 1, seed=3).at[1, :, 0].add(outcome[0].astype(jnp.float32))
        episode = make_episode(log_probs(params, outcome)[..., None], jnp.zeros((2, 2, 1, places)), values)
        result = policy_loss(rewarded, episode, jnp.zeros(1, int), state, first_drawn=0)
        return result.loss, result

    def probabilities(params: Mapping[str, Array]) -> Array:
        return jnp.exp(jax.vmap(log_probs, in_axes=(None, 0))(params, outcomes).sum(axis=(1, 2)))

    def expected_objective(params: Mapping[str, Array]) -> Array:
        values = jax.vmap(lambda outcome: objective(received(outcome).sum(axis=0)))(outcomes)
        return probabilities(params) @ values

    @jax.jit
    def enumerate_all(params: Mapping[str, Array]) -> tuple[Any, Any, PolicyLoss]:
        gradients, results = jax.vmap(jax.grad(loss, has_aux=True), in_axes=(None, 0))(params, outcomes)
        estimate = jax.tree.map(lambda leaf: -jnp.tensordot(probabilities(params), leaf, 1), gradients)
        return estimate, jax.grad(expected_objective)(params), results

    *trees, results = enumerate_all(params)
    estimate, exact = (np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]) for tree in trees)
    require_finite(results, "some outcome")
    require(np.isfinite(estimate).all(), "the gradient of the surrogate is not finite")
    relative = _relative_distance(estimate, exact)
    _require_unbiased(np.allclose(estimate, exact, rtol=1e-7, atol=3e-5), relative)
    return "exact"


# Where the gradient must be zero, and what an estimate must not depend on.
LABELS = jnp.arange(4)
LOG_PROBS, LOGITS, VALUES = random_normal(3, 2, 4, seed=1), random_normal(3, 2, 4, 5), random_normal(3, 2, 4, seed=2)
COUNTED = jnp.ones((3, 2, 4)).at[1:, 0, 1].set(0).at[2, :, 3].set(0)


def evaluate(
    estimator: Estimator,
    log_probs: Float[Array, "T M B"] = LOG_PROBS,
    logits: Float[Array, "T M B num_classes"] = LOGITS,
    values: Float[Array, "T M B"] = VALUES,
    labels: Array = LABELS,
    counted: Float[Array, "T M B"] | None = None,
) -> PolicyLoss:
    """Compute the policy loss of a small made-up episode, with a used estimator state. ``labels`` is ``[B]``."""
    state = used_state(estimator, len(log_probs))
    return policy_loss(estimator, make_episode(log_probs, logits, values), labels, state, counted=counted)


def _gradients(estimator: Estimator) -> None:
    def loss(*fields: Array) -> Array:
        return evaluate(estimator, *fields).loss

    of_log_probs, of_logits, of_values = jax.grad(loss, argnums=(0, 1, 2))(LOG_PROBS, LOGITS, VALUES)
    require(not np.any(of_values), "there is a gradient in the values, which have a loss of their own")
    if not accepted(estimator.surrogate, {"rewards": None}):
        require(not np.any(of_logits), "there is a gradient in the logits, though the surrogate names no rewards")
    if not estimator.pathwise:
        require(np.any(of_log_probs), "there is no gradient in the log-probabilities, so nothing is learned")


def _outputs_are_detached(estimator: Estimator) -> None:
    def total(logits: Array, values: Array) -> Array:
        result = evaluate(estimator, logits=logits, values=values)
        leaves = [leaf for leaf in jax.tree.leaves(result.estimator_state) if jnp.issubdtype(leaf.dtype, jnp.floating)]
        return result.advantages.sum() + result.rewards.sum() + sum(leaf.sum() for leaf in leaves)

    for gradient in jax.grad(total, argnums=(0, 1))(LOGITS, VALUES):
        require(not np.any(gradient), "rewards, advantages or estimator state carry a gradient")


def _nothing_from_uncounted(estimator: Estimator) -> None:
    def loss(log_probs: Array) -> Array:
        return evaluate(estimator, log_probs, counted=COUNTED).loss

    gradient = np.asarray(jax.grad(loss)(LOG_PROBS))
    require(not gradient[np.asarray(COUNTED) == 0].any(), "there is a gradient in glimpses that do not count")


def _images_are_independent(estimator: Estimator) -> None:
    before = require_finite(evaluate(estimator)).advantages
    changed = evaluate(estimator, logits=LOGITS.at[:, :, 2].add(random_normal(3, 2, 5, seed=5))).advantages
    same = np.array_equal(np.delete(changed, 2, axis=2), np.delete(before, 2, axis=2))
    require(same, "the advantages of an image change with the rewards of another")


def _order_does_not_matter(axis: int, estimator: Estimator) -> None:
    order = np.roll(np.arange(LOG_PROBS.shape[axis]), 1)
    log_probs, logits, values = (jnp.take(field, order, axis) for field in (LOG_PROBS, LOGITS, VALUES))
    labels = LABELS[order] if axis == 2 else LABELS
    before, after = require_finite(evaluate(estimator)), evaluate(estimator, log_probs, logits, values, labels)
    require(np.allclose(after.loss, before.loss, rtol=1e-5, atol=1e-6), "the loss depends on the order")
    moved = jnp.take(before.advantages, order, axis)
    require(np.allclose(after.advantages, moved, rtol=1e-5, atol=1e-6), "the advantages depend on the order")


def require_agreement(first: Any, second: Any, what: str) -> None:
    """Raise a `Failure` unless two trees of arrays agree but for rounding."""
    pairs = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    require(all(np.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in pairs), f"{what} gives other numbers")


def _jit_and_vmap(estimator: Estimator) -> None:
    several = [
        random_normal(2, 3, 2, 4, seed=6),
        random_normal(2, 3, 2, 4, 5, seed=7),
        random_normal(2, 3, 2, 4, seed=8),
    ]
    call = functools.partial(evaluate, estimator)
    require_finite(call())
    compiled, mapped = jax.jit(call), jax.vmap(call)(*several)
    for i in range(2):
        one = [field[i] for field in several]
        alone = call(*one)
        require_agreement(compiled(*one), alone, "jit")
        require_agreement(jax.tree.map(lambda leaf, i=i: leaf[i], mapped), alone, "vmap")


def _finite(estimator: Estimator) -> None:
    def loss(*fields: Array) -> Array:
        return evaluate(estimator, *fields).loss

    for scale in (0.0, 1e4):
        fields = (scale * LOG_PROBS, scale * LOGITS, scale * VALUES)
        require_finite(evaluate(estimator, *fields), f"inputs times {scale:g}")
        gradients = jax.grad(loss, argnums=(0, 1, 2))(*fields)
        finite = all(np.isfinite(gradient).all() for gradient in gradients)
        require(finite, f"the gradient of the surrogate of inputs times {scale:g} is not finite")


CHECKS: dict[str, Callable[[Estimator], str | None]] = {
    "unbiased where the gradient has a closed form": _closed_form,
    "unbiased over all outcomes of a discrete choice": _enumeration,
    "gradient in the log-probabilities alone": _gradients,
    "advantages carry no gradient": _outputs_are_detached,
    "no gradient in glimpses that do not count": _nothing_from_uncounted,
    "images do not depend on one another": _images_are_independent,
    "order of replicates does not matter": functools.partial(_order_does_not_matter, 1),
    "order of images does not matter": functools.partial(_order_does_not_matter, 2),
    "same numbers under jit and vmap": _jit_and_vmap,
    "finite at extremes": _finite,
}
