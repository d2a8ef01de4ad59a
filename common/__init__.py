"""What every agent uses: sensor, locations, cores, episodes, estimators, training, data."""
