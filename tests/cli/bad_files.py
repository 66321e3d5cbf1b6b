"""Files and folders with something wrong in each, and a few good ones to point bad flags at."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.tiny import tiny_reviews, write_csv, write_jsonl, write_parquet

GOOD_LINE = '{"text": "a fine film", "label": "positive"}\n'
BAD_LINE = '{"text": "a poor film", "label": "negative"}\n'


def make_bad_files(folder: Path, model: Path, run: Path) -> None:
    """Fill `folder`; the names are used by the table of cases."""
    _data(folder)
    _folders(folder)
    _recipes(folder)
    _models(folder, model)
    shutil.copytree(run, folder / "run")


def _data(folder: Path) -> None:
    rows = tiny_reviews(24)
    write_csv(rows, folder / "good.csv")
    write_jsonl(rows, folder / "good.jsonl")
    texts: dict[str, str] = {
        "empty.csv": "",
        "empty.jsonl": "",
        "header_only.csv": "text,label\n",
        "no_label.csv": "text\na fine film\na poor film\n",
        "no_text.csv": "id,label\n1,a\n2,b\n3,a\n",
        "two_texts.csv": "first,second,label\n" + "a long line of words,another long line of words,x\n" * 4
        + "b long line of words,other long lines of words,y\n" * 4,
        "wide.csv": "text,label\na fine film,positive\na poor film,negative,extra\na fair film,positive\n",
        "narrow.csv": "text,label\na fine film,positive\na poor film\na fair film,positive\n",
        "open_quote.csv": 'text,label\na fine film,positive\n"a poor film,negative\na fair film,positive\n',
        "same_names.csv": "text,text,label\na,b,x\nc,d,y\n",
        "empty_text.csv": "text,label\na fine film,positive\n,negative\na fair film,positive\n",
        "empty_label.csv": "text,label\na fine film,positive\na poor film,\na fair film,negative\n",
        "one_class.csv": "text,label\na fine film,positive\na fair film,positive\na good film,positive\n",
        "fractions.csv": "text,label\n" + "a fine film,0.31\na poor film,1.77\na fair film,2.5\n" * 3,
        "broken.jsonl": GOOD_LINE + '{"text": "a poor film", "label": \n' + BAD_LINE,
        "not_objects.jsonl": GOOD_LINE + '["a poor film", "negative"]\n' + BAD_LINE,
        "missing_field.jsonl": GOOD_LINE + '{"label": "negative"}\n' + BAD_LINE,
        "missing_label.jsonl": GOOD_LINE + '{"text": "a poor film"}\n' + BAD_LINE,
        "null_text.jsonl": GOOD_LINE + '{"text": null, "label": "negative"}\n' + BAD_LINE,
        "number_text.jsonl": GOOD_LINE + '{"text": 3.5, "label": "negative"}\n' + BAD_LINE,
        "list_label.jsonl": GOOD_LINE + '{"text": "a poor film", "label": ["negative"]}\n' + BAD_LINE,
        "mixed_labels.jsonl": '{"text": "a film", "label": 1}\n{"text": "b film", "label": 0}\n' * 10
        + '{"text": "c film", "label": "bad"}\n',
        "many_faults.jsonl": GOOD_LINE + BAD_LINE + '{"text": "", "label": "negative"}\n' * 14,
        "object.json": '{"message": "not rows"}',
        "broken.json": '[{"text": "a fine film", "label": "positive"}, {"text": ',
        "not_parquet.parquet": "text,label\na fine film,positive\n",
        "not_arrow.arrow": "text,label\na fine film,positive\n",
        "plain.txt": "a fine film\na poor film\n",
        "table.xlsx": "PK",
        "no_gzip.csv.gz": "text,label\na fine film,positive\n",
    }  # fmt: skip
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    lines = b"text,label\na fine film,positive\na poor caf\xe9 film,negative\na fair film,positive\n"
    (folder / "latin.csv").write_bytes(lines)
    (folder / "nul.csv").write_bytes(b"text,label\na fine film,positive\na poor\x00film,negative\n")
    (folder / "utf16.csv").write_text("text,label\na fine film,positive\na poor film,negative\n", encoding="utf-16")
    (folder / "cut.csv.gz").write_bytes(gzip.compress((folder / "good.csv").read_bytes())[:-20])
    write_parquet([{"text": "a fine film", "label": None}, {"text": "b", "label": "x"}], folder / "null_label.parquet")
    pq.write_table(pa.table({"n": [1, 2, 3]}), folder / "no_text.parquet")
    write_parquet(rows, folder / "whole.parquet")
    (folder / "cut.parquet").write_bytes((folder / "whole.parquet").read_bytes()[:-30])


def _split(folder: Path, **splits: Sequence[dict[str, Any]]) -> None:
    folder.mkdir()
    for name, rows in splits.items():
        write_jsonl(rows, folder / f"{name}.jsonl")


def _folders(folder: Path) -> None:
    rows, odd = tiny_reviews(24), [{"text": "an odd film", "label": "surprising"}]
    _split(folder / "good", train=rows, validation=rows[:8], test=rows[:8])
    _split(folder / "unseen_label", train=rows, test=[*rows[:8], *odd])
    _split(folder / "no_test", train=rows)
    _split(folder / "no_train", test=rows)
    _split(folder / "empty_test", train=rows, test=[])
    _split(folder / "other_columns", train=rows, test=[{"body": r["text"], "stars": r["label"]} for r in rows[:8]])
    (folder / "empty_folder").mkdir()
    (folder / "pictures").mkdir()
    (folder / "pictures" / "one.psd").write_bytes(b"8BPS")
    for kind in ("pos", "neg"):
        (folder / "classes" / "train" / kind).mkdir(parents=True)
        for number in range(4):
            (folder / "classes" / "train" / kind / f"{number}.txt").write_text(f"{kind} film", encoding="utf-8")
    (folder / "classes" / "train" / "pos" / "3.txt").write_bytes(b"caf\xe9")
    (folder / "one_class_folder" / "train" / "pos").mkdir(parents=True)
    for number in range(4):
        (folder / "one_class_folder" / "train" / "pos" / f"{number}.txt").write_text("a film", encoding="utf-8")
    (folder / "taken").mkdir()
    (folder / "taken" / "recipe.yaml").write_text("seed: 1\n", encoding="utf-8")


def _recipes(folder: Path) -> None:
    recipes = {
        "tabs.yaml": "model:\n\tname: x\n",
        "list.yaml": "- model\n- data\n",
        "unknown_key.yaml": "train:\n  epoch: 3\n",
        "unknown_section.yaml": "trian:\n  epochs: 3\n",
        "wrong_type.yaml": "train:\n  epochs: many\n",
        "twice.yaml": "seed: 1\nseed: 2\n",
        "extends_nothing.yaml": "extends: absent.yaml\n",
        "extends_itself.yaml": "extends: extends_itself.yaml\n",
        "unset_variable.yaml": "out: ${env:FTCLI_TEST_NOT_SET}\n",
        "python_tag.yaml": "model: !!python/object/apply:os.system ['true']\n",
        "scalar_section.yaml": "train: 5\n",
    }
    for name, text in recipes.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "latin.yaml").write_bytes(b"model: caf\xe9\n")


def _models(folder: Path, model: Path) -> None:
    for name in ("pickle", "no_weights", "cut_weights", "bad_config", "odd_type", "remote_code", "no_tokenizer"):
        shutil.copytree(model, folder / name)
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    (folder / "pickle" / "model.safetensors").rename(folder / "pickle" / "pytorch_model.bin")
    (folder / "no_weights" / "model.safetensors").unlink()
    weights = folder / "cut_weights" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    (folder / "bad_config" / "config.json").write_text('{"model_type": ', encoding="utf-8")
    (folder / "odd_type" / "config.json").write_text(json.dumps({"model_type": "brt"}), encoding="utf-8")
    own = {**config, "model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModel": "own.Model"}}
    (folder / "remote_code" / "config.json").write_text(json.dumps(own), encoding="utf-8")
    for file in (folder / "no_tokenizer").glob("*token*"):
        file.unlink()
    (folder / "unfinished").mkdir()
    (folder / "unfinished" / "recipe.yaml").write_text("seed: 1\n", encoding="utf-8")
