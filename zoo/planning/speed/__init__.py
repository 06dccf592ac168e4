"""The speed of a train step: what it sends, the bound of the published peaks, and a prediction."""
