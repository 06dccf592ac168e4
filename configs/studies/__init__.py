"""All studies of the zoo by name."""

from configs.studies import gpt1_to_llama
from configs.studies.study import AblationStudy
from models.config import ConfigError

STUDIES: dict[str, AblationStudy] = {"gpt1_to_llama": gpt1_to_llama.STUDY}


def get(name: str) -> AblationStudy:
    """Return the study called `name`. Raises ConfigError for an unknown name."""
    if name not in STUDIES:
        raise ConfigError(f"--study={name} is not in the zoo; write one of {', '.join(STUDIES)}")
    return STUDIES[name]
