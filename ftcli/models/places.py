"""Where a model lies that somebody names: a folder with its files, or a name of the Hub."""

from __future__ import annotations

import json
from pathlib import Path

from ftcli.errors import UsageError
from ftcli.models.failures import pickle_refused


def local_folder(path: Path, run: Path | None) -> str:
    """The folder of weights under `path`, or of the `run` there; UsageError where it holds no model that is read."""
    folder = path / "model" if run is not None else path
    if not folder.is_dir():
        if run is not None:
            raise UsageError(f"run '{path}' has no model yet", hint="it did not finish: run it again with --resume")
        raise UsageError(f"model '{path}' is a file", hint="name the folder that holds config.json")
    config = folder / "config.json"
    if not config.is_file():
        raise UsageError(f"no config.json in '{folder}'", hint="a model folder holds config.json and model.safetensors")
    try:
        json.loads(config.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise UsageError(f"{config}: not readable as JSON ({error})") from None
    if not list(folder.glob("*.safetensors")):
        pickles = sorted(p.name for p in folder.iterdir() if p.suffix in {".bin", ".pt", ".pth", ".ckpt", ".pkl"})
        if pickles:
            raise pickle_refused(str(path), pickles[0])
        raise UsageError(f"no weights in '{folder}'", hint="model.safetensors belongs beside config.json")
    return str(folder)


def hub_name(name: str) -> str:
    """`name`, if it can be one of the Hub's; UsageError where it cannot."""
    local_looking = name.startswith((".", "/", "~")) or name.count("/") > 1 or name.endswith((".safetensors", ".bin"))
    if local_looking or any(c in name for c in ' \\:*?"<>|\t\n'):
        raise UsageError(f"no model at '{name}'", hint="a Hub name, a model folder, a run folder, or preset:NAME")
    return name
