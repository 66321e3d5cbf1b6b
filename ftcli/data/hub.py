"""Data sets of the Hugging Face Hub, through the datasets library, with its failures put into words."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ftcli.data.arrow_files import arrow_reader
from ftcli.data.reader import Reader
from ftcli.errors import DataError, FtcliError, UsageError
from ftcli.hub import PATIENCE, as_reachable, endpoint, is_unreachable

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

T = TypeVar("T")
Explain = Callable[[Exception], Exception]
"""A library's exception as one of ours."""

# Bare names that people know, and the repositories they moved to.
_ALIASES = {
    "ag_news": "fancyzhx/ag_news",
    "ai2_arc": "allenai/ai2_arc",
    "amazon_polarity": "fancyzhx/amazon_polarity",
    "banking77": "PolyAI/banking77",
    "commonsense_qa": "tau/commonsense_qa",
    "dbpedia_14": "fancyzhx/dbpedia_14",
    "emotion": "dair-ai/emotion",
    "financial_phrasebank": "takala/financial_phrasebank",
    "imdb": "stanfordnlp/imdb",
    "rotten_tomatoes": "cornell-movie-review-data/rotten_tomatoes",
    "snli": "stanfordnlp/snli",
    "squad": "rajpurkar/squad",
    "squad_v2": "rajpurkar/squad_v2",
    "sst": "stanfordnlp/sst",
    "sst2": "stanfordnlp/sst2",
    "swag": "allenai/swag",
    "trec": "CogComp/trec",
    "yahoo_answers_topics": "community-datasets/yahoo_answers_topics",
    "yelp_polarity": "fancyzhx/yelp_polarity",
    "yelp_review_full": "Yelp/yelp_review_full",
}
# Bare names of collections: what follows the slash is a configuration, not a repository.
_COLLECTIONS = {
    "glue": "nyu-mll/glue",
    "super_glue": "aps/super_glue",
    "tweet_eval": "cardiffnlp/tweet_eval",
    "amazon_reviews_multi": "defunct-datasets/amazon_reviews_multi",
    "clinc_oos": "clinc/clinc_oos",
    "hate_speech18": "odegiber/hate_speech18",
    "silicone": "eusip/silicone",
}
# Names of the library's own file readers: given as a data set they mean nothing.
_FORMATS = ("arrow", "csv", "json", "parquet", "text", "xml", "imagefolder", "audiofolder", "pandas", "webdataset")


def is_alias(name: str) -> bool:
    """True for a well-known bare name (``imdb``, ``glue/sst2``)."""
    return name.partition(":")[0] in _ALIASES or name.partition(":")[0].partition("/")[0] in _COLLECTIONS


def candidates(name: str) -> list[tuple[str, str | None]]:
    """Repository and configuration to try, in this order: where the name is known to live, then as it stands."""
    base, _, after = name.partition(":")
    config = after or None
    head, _, tail = base.partition("/")
    if head in _COLLECTIONS:
        return [(_COLLECTIONS[head], tail or config), (head, tail or config)]
    return [(_ALIASES[base], config), (base, config)] if base in _ALIASES else [(base, config)]


def open_hub(name: str, revision: str | None) -> tuple[dict[str, Reader], list[str]]:
    """The splits of a Hub data set, downloaded or from the cache, and notes."""
    _check_name(name)
    with as_reachable() as online, _quiet():
        repository, splits = _first_found(name, revision, online, _download)
    notes = [] if online else [f"the Hub ({endpoint()}) could not be reached: {repository} as in the cache"]
    return {str(split): _reader(f"{name} ({split})", dataset) for split, dataset in splits.items()}, notes


def stream_hub(name: str, revision: str | None) -> dict[str, Callable[[], list[Reader]]]:
    """What opens each split of a Hub data set, a reader for each of its files, that are read from there as needed."""
    _check_name(name)
    with as_reachable() as online, _quiet():
        return dict(_first_found(name, revision, online, _streamed)[1])


def _first_found(
    name: str, revision: str | None, online: bool, load: Callable[[str, str | None, str | None, bool], T]
) -> tuple[str, T]:
    """The repository, of those that `name` may mean, that is there, and what `load` makes of it."""
    failures: list[FtcliError] = []
    for repository, config in candidates(name):
        try:
            return repository, load(repository, config, revision, online)
        except _Unfound as failure:
            failures.append(failure.error)
    # Of several tries an unreachable Hub says more than a name that was not found.
    raise min(failures, key=lambda error: "reach" not in error.message)


def _check_name(name: str) -> None:
    if name.lower() in _FORMATS:
        raise UsageError(f"'{name}' is a file format, not a data set", hint="give a file, a folder or a Hub name")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?(:[\w.+-]+)?", name):
        raise UsageError(f"'{name}' is neither a path that exists nor a name a Hub data set can have")


class _Unfound(Exception):
    """Not under this name (or the Hub cannot say): worth trying the next one."""

    def __init__(self, error: FtcliError) -> None:
        super().__init__(error.message)
        self.error = error


def _download(repository: str, config: str | None, revision: str | None, online: bool) -> Mapping[Any, Dataset]:
    import datasets

    try:
        path = _canonical(repository, online)
        if "/" not in path:
            return _load_whole(path, config, revision, online)
        # A folder of the same name would be taken for the data set; this form asks for the Hub only.
        path = f"hf://datasets/{path}" if os.path.lexists(path) else path
        splits: Mapping[Any, Dataset] = datasets.load_dataset(path, config, revision=revision)
        return splits
    except Exception as error:
        raise _explained(error, repository, config, revision) from error


def _canonical(repository: str, online: bool) -> str:
    """``owner/name`` of a bare name that moved: the library below follows no redirects."""
    from huggingface_hub import HfApi, constants

    if "/" in repository:
        return repository
    if online:
        return str(HfApi().dataset_info(repository, timeout=PATIENCE).id)
    kept = [folder.name.split("--") for folder in Path(constants.HF_HUB_CACHE).glob(f"datasets--*--{repository}")]
    return "/".join(kept[0][1:]) if len(kept) == 1 else repository


def _load_whole(name: str, config: str | None, revision: str | None, online: bool) -> Mapping[Any, Dataset]:
    """A data set that has a bare name, of which the library below knows nothing: its files, then read as a folder."""
    import datasets
    from huggingface_hub import snapshot_download

    folder = snapshot_download(name, repo_type="dataset", revision=revision, local_files_only=not online)
    splits: Mapping[Any, Dataset] = datasets.load_dataset(folder, config)
    return splits


def _reader(name: str, dataset: Dataset) -> Reader:
    def batches(columns: Sequence[str] | None) -> Iterator[Any]:
        chosen = dataset if columns is None else dataset.select_columns(list(columns))
        yield from chosen.with_format("arrow").iter(1000)

    return arrow_reader(name, dataset.column_names, dataset.features.to_dict(), batches)


def _streamed(
    repository: str, config: str | None, revision: str | None, online: bool
) -> Mapping[str, Callable[[], list[Reader]]]:
    import datasets

    shown = f"{repository}:{config}" if config else repository
    if not online:
        raise UsageError(
            f"the Hub ({endpoint()}) could not be reached, and data set '{shown}' is to be streamed from there",
            hint="give a local file or folder, or leave out corpus.stream to use what is in the cache",
        )
    try:
        path = _canonical(repository, online)
        path = f"hf://datasets/{path}" if os.path.lexists(path) or "/" not in path else path
        splits = datasets.load_dataset(path, config, revision=revision, streaming=True)
    except Exception as error:
        raise _explained(error, repository, config, revision) from error
    found = {str(split): dataset for split, dataset in splits.items()}
    explain = partial(_explained, repository=repository, config=config, revision=revision)
    return {split: partial(_files, f"{shown} ({split})", dataset, explain) for split, dataset in found.items()}


def _files(name: str, dataset: IterableDataset, explain: Explain) -> list[Reader]:
    """A reader for each file of a split that is streamed."""
    with _quiet(), _put_into_words(explain):
        fields = dataset.column_names or list(next(iter(dataset), {}))
        features = {} if dataset.features is None else dataset.features.to_dict()
        count = max(1, dataset.num_shards)
        parts = [dataset.shard(count, number) if count > 1 else dataset for number in range(count)]
    names = [f"{name}, file {number} of {count}" if count > 1 else name for number in range(1, count + 1)]
    return [
        arrow_reader(shown, fields, features, partial(_streamed_batches, part, explain))
        for shown, part in zip(names, parts, strict=True)
    ]


def _streamed_batches(dataset: IterableDataset, explain: Explain, columns: Sequence[str] | None) -> Iterator[Any]:
    with _put_into_words(explain):
        chosen = dataset if columns is None else dataset.select_columns(list(columns))
        yield from chosen.with_format("arrow").iter(1000)


@contextmanager
def _put_into_words(explain: Explain) -> Iterator[None]:
    """The library's exceptions as ours."""
    try:
        yield
    except Exception as error:
        found = explain(error)
        raise (found.error if isinstance(found, _Unfound) else found) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and no log lines from the libraries below; errors are put into words here."""
    import datasets
    from huggingface_hub.utils import logging
    from huggingface_hub.utils.tqdm import disable_progress_bars

    datasets.utils.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    disable_progress_bars()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _explained(error: Exception, repository: str, config: str | None, revision: str | None) -> Exception:
    """The library's exception as one of ours, or as `_Unfound` where another name may do."""
    from datasets.exceptions import DataFilesNotFoundError, DatasetGenerationError, DatasetNotFoundError

    text = str(error)
    shown = f"{repository}:{config}" if config else repository
    what = f"data set '{shown}'" + (f" at revision '{revision}'" if revision else "")
    listed = re.search(r"(?:available configs|Available):? *\[(.*?)\]", text)
    if isinstance(error, ValueError) and (listed or "multiple" in text):
        return _choose_config(repository, config, listed.group(1) if listed else text.partition("cache: ")[2])
    if "scripts are no longer supported" in text:
        return UsageError(
            f"{what} needs a Python script to load, which is never run", hint="use a data set of plain files"
        )
    if type(error).__name__ == "RepositoryNotFoundError":
        return _Unfound(UsageError(f"{what} was not found on the Hub ({endpoint()})", hint=_near(repository)))
    if "gated" in text:
        return UsageError(
            f"{what} is gated: access has to be granted", hint="ask for it on its page, then: hf auth login"
        )
    if isinstance(error, DatasetGenerationError):
        cause = error.__cause__ or error
        return DataError(f"{what}: the files cannot be read: {_first_line(cause)}")
    if isinstance(error, DatasetNotFoundError):
        return _Unfound(UsageError(f"{what} was not found on the Hub ({endpoint()})", hint=_near(repository)))
    if is_unreachable(error):
        return _Unfound(
            UsageError(
                f"the Hub ({endpoint()}) could not be reached, and {what} is not in the cache",
                hint="connect once to download it, or give a local file or folder",
            )
        )
    if isinstance(error, DataFilesNotFoundError) or type(error).__name__ == "EmptyDatasetError":
        return DataError(f"{what} has no data files that can be read")
    if isinstance(error, OSError) and error.errno is not None:
        return DataError(f"{what} cannot be stored: {error.strerror}", hint="HF_HOME says where downloads are kept")
    return DataError(f"{what} cannot be read: {_first_line(error)}")


def _choose_config(repository: str, config: str | None, names: str) -> UsageError:
    configs = [name.strip(" '\"") for name in names.split("\n")[0].split(",")]
    what = (
        f"data set '{repository}' has no configuration '{config}'"
        if config
        else f"'{repository}' has several configurations"
    )
    shown = ", ".join(configs[:20]) + (f" and {len(configs) - 20} more" if len(configs) > 20 else "")
    near = get_close_matches(config or "", configs, n=1)
    return UsageError(f"{what}: {shown}", hint=f"--data {repository}:{(near or configs)[0]}")


def _near(repository: str) -> str:
    known = [*_ALIASES, *_COLLECTIONS]
    near = get_close_matches(repository.rpartition("/")[2], known, n=1, cutoff=0.7)
    if near and near[0] != repository:
        return f"did you mean '{near[0]}'?"
    return "check the name (owner/name), or give an existing file or folder; a private one needs: hf auth login"


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).strip() or 'no reason given').splitlines()[0]}"
