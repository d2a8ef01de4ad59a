"""What every agent uses: sensor, locations, cores, episodes, estimators, training, data."""

# Near the end of single precision, in which everything is computed: larger settings would be infinite.
LARGEST = 1e38
