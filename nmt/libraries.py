"""Libraries that only some features need, imported where they are used."""

import importlib
from typing import Any

from nmt.errors import ConfigError


def needed(module: str, what: str, extra: str = "export") -> Any:
    """The imported ``module``; raises ConfigError, saying what to install, where it is not there.

    ``what`` is the key with its value that asked for it, as the message begins; ``extra`` of pyproject.toml has the
    library.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ConfigError(
            f"{what} needs the package {package} ({error}): pip install {package}, or "
            f"pip install '.[{extra}]' in the source tree of nmt"
        ) from None
