"""Where text comes from, and which of it is held out."""
