"""The names of the read-outs: how a prediction is taken from an agent's episodes."""

# Name in results.json -> words of the glossary, where the number of episodes is unknown.
READOUTS = {
    "greedy": "greedy",
    "sampled": "one episode",
    "average_probability": "mean of episodes",
    "average_log_probability": "mean of episodes, log-probabilities",
}
# The one prediction of a network that samples nothing, which is stored as greedy.
SINGLE_PASS = "single pass"
# The read-outs that average over sampled episodes.
MEANS = ("average_probability", "average_log_probability")
# Number words, as in "mean of ten".
WORDS = {4: "four", 10: "ten"}


def readout_name(key: str, episodes: int | None = None) -> str:
    """Return the words for a read-out of `results.json`, such as "mean of ten".

    Args:
      key: the name in `results.json`; an unknown one is returned with spaces for underscores.
      episodes: how many episodes the means average; None if unknown.
    """
    name = READOUTS.get(key, key.replace("_", " "))
    if key in MEANS and episodes is not None:
        name = name.replace("mean of episodes", f"mean of {WORDS.get(episodes, str(episodes))}")
    return name
