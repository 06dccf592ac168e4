"""Whether a run fits some hardware, and how fast it could be, without the hardware."""
