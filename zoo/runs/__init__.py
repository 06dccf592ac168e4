"""A training run: set-up, the loop, its workdir, its logs, and its end."""
