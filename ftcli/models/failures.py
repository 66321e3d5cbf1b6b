"""What goes wrong when a model is looked for or read, in the user's words."""

from __future__ import annotations

from ftcli.errors import FtcliError, UsageError


def refuse_pickles(name: str, revision: str | None) -> None:
    """UsageError, before anything is downloaded, for a repository that has weights but no safetensors."""
    from huggingface_hub import HfApi

    files = HfApi().list_repo_files(name, revision=revision)
    pickles = sorted(file for file in files if file.endswith((".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack")))
    if pickles and not any(file.endswith(".safetensors") for file in files):
        raise pickle_refused(name, pickles[0])


def pickle_refused(name: str, file: str) -> UsageError:
    """The error for a model that has no safetensors."""
    return UsageError(
        f"{name} has only a pickle checkpoint ({file}), which can run code when read; ftcli reads safetensors only",
        hint="convert it once where you trust it: model.save_pretrained(DIR) writes safetensors",
    )


def explain(error: Exception, name: str, location: str) -> FtcliError:
    """What went wrong under `from_pretrained`, in the user's words."""
    text = " ".join(str(error).split())
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    kinds = {type(e).__name__ for e in chain}
    if isinstance(error, FtcliError):
        return error
    if "trust_remote_code" in text:
        return UsageError(
            f"{name} needs Python code of its own to load, which is not run unasked",
            hint="--trust-remote-code, if you trust its author",
        )
    if "safetensors" in text and ("does not appear" in text or "pytorch_model.bin" in text):
        return pickle_refused(name, "pytorch_model.bin")
    if "SafetensorError" in kinds or "HeaderTooLarge" in text or "incomplete metadata" in text.lower():
        return UsageError(f"{name}: its safetensors file is damaged ({text[:200]})", hint="copy or download it again")
    if kinds & {"RepositoryNotFoundError", "RevisionNotFoundError"} or "is not a valid model identifier" in text:
        return UsageError(f"no model '{name}' on the Hub, and no such folder here", hint="check the name and its owner")
    if kinds & {"GatedRepoError"}:
        return UsageError(f"{name} is gated", hint="accept its terms on the Hub, then: hf auth login")
    network = {"ConnectionError", "ConnectError", "ConnectTimeout", "OfflineModeIsEnabled", "LocalEntryNotFoundError"}
    if kinds & network or "couldn't connect" in text.lower() or "offline" in text.lower():
        return UsageError(
            f"model '{name}': no such folder here, not in the cache, and the Hub cannot be reached",
            hint="connect once to download it, or name a local folder or builtin:bert-tiny-en",
        )
    return UsageError(f"model '{name}' cannot be loaded from {location}: {text[:300]}")
