"""All names of the guard rail that may move. Whoever renames one changes its line here."""

# The modules of the commands, by the names that `guard_rail_cases` uses.
COMMANDS = {
    "ram": "experiments.ram",
    "dram": "experiments.dram",
    "stn": "experiments.stn",
    "soft_attention": "experiments.soft_attention",
    "colocalisation": "experiments.colocalisation",
    "cnn": "experiments.cnn",
    "evaluate": "experiments.evaluate",
    "forward_backward": "experiments.forward_backward",
    "focus": "experiments.focus",
    "ablate": "experiments.ablate",
}
# Words of command lines (flags, presets, values) that have a new name: {"--growth": "--scale-growth"}.
RENAMED: dict[str, str] = {
    "--what-hidden": "--glimpse-hidden",
    "--where-hidden": "--location-hidden",
    "--locator-hidden": "--location-network-hidden",
    "--locator-gradient": "--policy-gradient-into",
    "head": "location_network",
    "--average-decay": "--moving-average-decay",
    "--baseline-weight": "--value-weight",
    "--start": "--first-location",
    "--parameters-from": "--init-from",
    "--policy": "--locations",
}
# Keys of config.json, metrics.jsonl and results.json that have a new name: {"growth": "scale_growth"}.
RENAMED_KEYS: dict[str, str] = {
    "what_hidden": "glimpse_hidden",
    "where_hidden": "location_hidden",
    "locator_hidden": "location_network_hidden",
    "locator_gradient": "policy_gradient_into",
    "average_decay": "moving_average_decay",
    "baseline_weight": "value_weight",
    "baseline_loss": "value_loss",
    "parameters_from": "init_from",
    "policy": "locations",
}
# The state of a run after a step, below its folder, and the parts of it that are the last and the best parameters.
STATE, PARAMETERS = "checkpoints/{step}/state", {"last": "params", "best": "best_params"}
# What differs from run to run: times, and where it ran.
UNSTABLE = {"seconds", "images_per_second", "wall_seconds", "commit", "device", "jax_version", "starts"}
