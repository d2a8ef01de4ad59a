"""Results of a run as `results.json` holds them, for tests of what reads them."""

ERROR = {"error": 4.0, "low": 3.0, "high": 5.0, "n": 100}


def results_of(steps=4, planned=None, **entries):
    """Return results of a run of so many steps, with other entries in place of its own."""
    config = {"training": {"steps": planned or steps, "eval_episodes": 1}, "data": {"task": "images"}}
    facts = {"task": "images", "family": "cnn", "preset": "mnist28", "config": config, "seed": 0}
    numbers = {"steps": steps, "episodes": 8 * steps, "parameters": 1234, "wall_seconds": 90.0}
    origin = {"device": "none", "jax_version": "0", "commit": None}
    return facts | numbers | origin | {"validation": {"greedy": ERROR}, "test": {"greedy": ERROR}} | entries
