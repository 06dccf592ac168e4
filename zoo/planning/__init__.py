"""Plans of runs on hardware that need not be present: do they fit, and how fast could they be?"""

from typing import Literal

Effort = Literal["estimate", "quick", "full"]
"""The source of a plan's bytes.

`estimate`: by arithmetic alone. `quick`: compiled with less optimisation than a run has, about
three times as fast; bytes are within about a tenth. `full`: compiled as a run compiles it.
"""
