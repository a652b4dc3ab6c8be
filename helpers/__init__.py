"""What the notebooks import, so that they show only what they teach: data, networks, training, plots."""
