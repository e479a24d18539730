"""Exported models on the Hugging Face hub: hf://OWNER/NAME is downloaded once and is then a folder as any other."""

import os
import re
from pathlib import Path

from nmt.errors import RunError
from nmt.libraries import needed

ADDRESS = re.compile(r"hf:/{1,2}(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")
# What is read of a repository, by the patterns of huggingface_hub; whatever else is in it stays there.
FILES = ["config.yaml", "model.safetensors", "export.json", "tokenizer/*", "plugins/*"]


def local_directory(where: str | os.PathLike[str]) -> Path:
    """The folder of a run: ``where`` itself, or for hf://OWNER/NAME, hf://OWNER/NAME@REVISION the download of it.

    The hub is that of the environment variable HF_ENDPOINT; files lie in huggingface_hub's cache, and are used from
    there without the hub, too.  They are configuration, tokenizer, weights and plug-ins, which are executed where they
    are trusted.  Raises RunError for an empty name and an address that is none or cannot be downloaded, ConfigError
    without huggingface_hub.
    """
    text = os.fspath(where)
    if not text:
        raise RunError("the name of the run directory is empty")
    if not text.startswith("hf:/"):
        return Path(where)
    found = ADDRESS.fullmatch(text)
    if found is None:
        raise RunError(f"{text} is no address on the hub; type hf://OWNER/NAME, or hf://OWNER/NAME@REVISION")
    library, errors = (needed(module, text) for module in ("huggingface_hub", "huggingface_hub.errors"))
    try:
        folder = library.snapshot_download(
            found["repository"],
            revision=found["revision"],
            endpoint=os.environ.get("HF_ENDPOINT"),
            allow_patterns=FILES,
            library_name="nmt",
        )
    # OSError: no network, no such repository, no permission; ValueError: a name that no repository has
    except (OSError, ValueError, errors.HfHubHTTPError) as error:
        reason = " ".join(str(error).split())
        raise RunError(f"{text} cannot be downloaded: {reason or type(error).__name__}") from None
    return Path(folder)
