"""The model card: what a model is, what it was trained on and how well it does, for whoever opens its folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ftcli.contract_options import Explaining
from ftcli.data.streamed import Streamed
from ftcli.runs.best import Best
from ftcli.runs.parts import Parts
from ftcli.text import visible

PIPELINES: Mapping[str, tuple[str, str]] = {
    "text-classification": (
        "text-classification", '["some text"], truncation=True)  # longer texts are cut as in training'
    ),
    "pair": ("text-classification", '{"text": "one text", "text_pair": "another"})'),
    "multi-label": ("text-classification", '"some text", top_k=None)  # thresholds: config.json, "ftcli"'),
    "regression": (
        "text-classification", '"some text", function_to_apply="none")  # of a pair: {"text": ..., "text_pair": ...}'
    ),
    "token-classification": ("token-classification", '"some text", aggregation_strategy="first")'),
    "image-classification": ("image-classification", '"path/to/image.png")'),
    "ctc-asr": ("automatic-speech-recognition", '"path/to/sound.wav")'),
    "object-detection": ("object-detection", '"path/to/image.png")'),
    "seq2seq-asr": ("automatic-speech-recognition", '"path/to/sound.wav")'),
    "audio-classification": ("audio-classification", '"path/to/sound.wav")'),
    "mlm": ("fill-mask", 'f"some {run.tokenizer.mask_token}")'),
    "clm": ("text-generation", '"some text")'),
    "causal-lm": ("text-generation", '[{"role": "user", "content": "some text"}])'),
}  # fmt: skip
"""Task or objective -> the transformers pipeline that runs the model, and how that is called."""


_DONE = {"pretrain": "pretrained", "distill": "distilled"}


def model_card(parts: Parts, report: dict[str, Any], best: Best) -> str:
    """README.md of the model folder: front matter that the Hub reads, facts of the run, scores, how to use it."""
    recipe, data, name = parts.recipe, parts.data, parts.task.name
    base, command = _plain(parts.source.name), report["command"]
    metrics = "\n".join(f"| {name} | {value:.4f} |" for name, value in report["metrics"].items() if value is not None)
    pipeline, _ = PIPELINES.get(name, (None, ""))
    tag = f"pipeline_tag: {pipeline}\n" if pipeline is not None else ""
    length = f"\n- at most {recipe.train.max_length} tokens per text" if recipe.train.max_length is not None else ""
    teacher = f"- learns from: `{_plain(recipe.teacher.name)}`\n" if recipe.teacher.name else ""
    rows = "streamed" if isinstance(data, Streamed) else f"{len(data.splits['train']):,} training rows"
    return f"""---
library_name: transformers
{tag}tags: [ftcli]
---

# {base}, {_DONE.get(command, "fine-tuned")} on {_plain(data.name)}

Made by `ftcli {command}`; the recipe that repeats it is `recipe.yaml` in the run folder.

- starts from: `{base}`
{teacher}- {"task" if recipe.objective is None else "objective"}: {name}
- data: `{_plain(data.name)}`, {rows}
- state: step {best.step:,} (epoch {best.epoch:.2f}), the best {best.metric} on the validation split
- seed {recipe.seed}, learning rate {recipe.optimizer.lr:g}, {recipe.train.step_in_words} per step{length}

## Scores on the {report["data"]["split"]} split ({report["data"]["rows"]:,} rows)

| metric | value |
| --- | ---: |
{metrics}

## Use

{_use(parts, command)}
"""


def _use(parts: Parts, command: str) -> str:
    file = {"image": "image.png", "audio": "sound.wav"}.get(parts.source.takes, "texts.txt")
    pipeline, call = PIPELINES.get(parts.task.name, (None, ""))
    own = parts.task.usage() if isinstance(parts.task, Explaining) else None
    if own is not None:
        return f"```python\n{own}\n```\n\nor `ftcli predict RUN {file}`."
    example = "" if pipeline is None else f"""```python
from transformers import pipeline

run = pipeline("{pipeline}", model="path/to/this/folder")
run({call}
```

or """  # fmt: skip
    further = "; to fine-tune it, `ftcli finetune --model RUN --data D`" if command == "pretrain" else ""
    return f"{example}`ftcli predict RUN {file}`{further}."


def _plain(text: str) -> str:
    return re.sub(r"[`|\[\]<>]", "", visible(text))
