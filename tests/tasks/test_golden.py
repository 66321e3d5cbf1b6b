"""Golden loss curves: a refactor must reproduce them. `python -m tests.tasks.test_golden [NAME ...]` writes anew."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from transformers import (
    AutoConfig,
    BertConfig,
    BertForMaskedLM,
    BertForMultipleChoice,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
    Wav2Vec2ForCTC,
    WhisperForAudioClassification,
    WhisperForConditionalGeneration,
    YolosForObjectDetection,
)

from ftcli.data.sampler import Sampler
from ftcli.engine.corrupt import drawing
from ftcli.engine.loop import Loop, count_steps
from ftcli.engine.optim import adamw
from ftcli.engine.precision import pick_precision
from ftcli.engine.schedule import factor
from ftcli.models.audio_processors import plain_hearing, takes_sounds
from ftcli.models.image_processors import plain_processor
from ftcli.models.presets import preset
from ftcli.models.tokenizers import train_tokenizer, train_wordpiece
from ftcli.objectives.mlm import MaskedLanguageModelling
from ftcli.recipe.schema import OptimizerRecipe, Recipe, ScheduleRecipe, TokenizerRecipe, TrainRecipe
from ftcli.recipe.task_schema import RankingRecipe
from ftcli.tasks import TASKS
from ftcli.tasks.causal_lm import CausalLM
from ftcli.tasks.extractive_qa import ExtractiveQA
from ftcli.tasks.image_classification import ImageClassification
from ftcli.tasks.multiple_choice import MultipleChoice
from ftcli.tasks.ranking import Ranking
from ftcli.tasks.seq2seq import Seq2Seq
from ftcli.tasks.text_classification import TextClassification
from tests.tasks.samples import SAMPLES
from tests.tiny import GOOD, t5_tokenizer

GOLDEN = Path(__file__).parent.parent / "golden"
WHISPER = {**preset("whisper-digits"), "encoder_layers": 1, "d_model": 32, "encoder_ffn_dim": 64}
WHISPER_WRITES = {**WHISPER, "decoder_layers": 1, "decoder_ffn_dim": 64}
WAV2VEC2 = {**preset("wav2vec2-tiny"), "num_hidden_layers": 2, "hidden_size": 32, "intermediate_size": 64,
            "conv_dim": [32] * 5}  # fmt: skip
YOLOS = {**preset("yolos-shapes"), "image_size": [32, 32], "num_hidden_layers": 2, "hidden_size": 32,
         "intermediate_size": 64, "num_detection_tokens": 4, "initializer_range": 0.1}  # fmt: skip
WORDS = ["film", "plot", "warm", "cold", "dull", "bright", "slow", "fine", "a", "the", "very", "not"]
TOLERANCE = 2e-5
"""What other processors' order of additions may change over the curve."""


class Split(list[Any]):
    """A split in memory."""

    def column(self, role: str) -> list[Any]:
        return [row[role] for row in self]


def text_classification() -> list[float]:
    """42 steps of a two-layer BERT with dropout, accumulation, clipping and warm-up."""
    random = np.random.default_rng(7)
    rows = []
    for i in range(50):
        words = list(random.choice(WORDS, random.integers(1, 12)))
        rows.append({"text": " ".join([*words, ("good", "bad")[i % 2]]), "label": ("positive", "negative")[i % 2]})
    tokenizer = train_wordpiece([r["text"] for r in rows], TokenizerRecipe(vocab_size=150), 32)
    task = TextClassification(tokenizer, 32)
    return of_texts(task, rows, 2)


def of_texts(task: Any, rows: list[dict[str, Any]], outputs: int, kind: Any = BertForSequenceClassification) -> Any:
    """The curve of a task with a head over a small BERT."""
    task.fit_labels(Split(rows), None)
    torch.manual_seed(11)
    model = kind(
        BertConfig(vocab_size=len(task.tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                   intermediate_size=64, num_labels=outputs, initializer_range=0.1)
    )  # fmt: skip
    task.prepare(model)
    return trained(task, model, task.encode(rows))


def of_task(name: str, outputs: int, kind: Any = BertForSequenceClassification) -> list[float]:
    """The curve of a task on rows where single words give the answer away."""
    chance = np.random.default_rng(7)
    rows: list[dict[str, Any]] = []
    for i in range(50):
        words = [str(word) for word in chance.choice(WORDS, chance.integers(1, 6))]
        text, mark = " ".join(words), ("good", "bad")[i % 2]
        rows.append(
            {
                "pair": {"text": text, "text_b": f"{text} {mark}", "label": mark},
                "regression": {"text": f"{text} {mark}", "score": 3.5 + 10 * (i % 2)},
                "multi-label": {"text": f"{text} {mark}", "labels": [mark]},
                "token-classification": {"tokens": [*words, mark, mark], "tags": ["O"] * len(words) + ["B-x", "I-x"]},
            }[name]
        )
    tokenizer = train_wordpiece([*WORDS, "good", "bad"], TokenizerRecipe(vocab_size=150), 32)
    return of_texts(TASKS.part(name)(tokenizer, 32), rows, outputs, kind)


def image_classification() -> list[float]:
    """42 steps of a two-layer ViT on scikit-learn's digits 0 and 1."""
    digits = load_digits()
    chosen = np.flatnonzero(digits.target < 2)[:50]
    labels = [("zero", "one")[digits.target[i]] for i in chosen]
    processor = ViTImageProcessor(size={"height": 8, "width": 8}, image_mean=[0.5], image_std=[0.5])
    task = ImageClassification(processor, 32)
    task.fit_labels(Split([{"label": label} for label in labels]), None)  # type: ignore[arg-type]
    torch.manual_seed(11)
    config = ViTConfig(image_size=8, patch_size=2, num_channels=1, hidden_size=32, num_hidden_layers=2,
                       num_attention_heads=2, intermediate_size=64, num_labels=2, hidden_dropout_prob=0.1,
                       initializer_range=0.1)  # fmt: skip
    model = ViTForImageClassification(config)
    task.prepare(model)
    rows = []
    for i, label in zip(chosen, labels, strict=True):
        image, file = Image.fromarray((digits.images[i] * 15.9375).astype(np.uint8)), io.BytesIO()
        image.save(file, format="png")
        rows.append({"image": file.getvalue(), "label": label})
    return trained(task, model, task.encode(rows))


def extractive_qa() -> list[float]:
    """42 steps of a two-layer BERT over windows of 16 tokens; a third of the questions have no answer."""
    random = np.random.default_rng(7)
    rows: list[dict[str, Any]] = []
    for i in range(50):
        words = list(random.choice(WORDS[8:], random.integers(1, 20)))
        at = int(random.integers(0, len(words) + 1))
        context = " ".join([*words[:at], "warm", *words[at:]])
        answer = {"text": "warm", "answer_start": context.index("warm")}
        asked, answers = ("film", [answer]) if i % 3 else ("plot", [])
        rows.append({"question": asked, "context": context, "answers": answers})
    tokenizer = train_wordpiece([r["context"] + " film plot" for r in rows], TokenizerRecipe(vocab_size=150), 16)
    task = ExtractiveQA(tokenizer, 16)
    torch.manual_seed(11)
    model = BertForQuestionAnswering(tiny(tokenizer))
    task.prepare(model)
    examples = task.encode(rows)
    assert max(len(e["windows"]) for e in examples) > 1
    return trained(task, model, examples)


def multiple_choice() -> list[float]:
    """42 steps of a two-layer BERT that tells the choice which is warm."""
    random = np.random.default_rng(7)
    rows = []
    for i in range(50):
        choices = [" ".join(random.choice(WORDS[8:], random.integers(1, 5))) for _ in range(random.integers(2, 5))]
        label = int(random.integers(len(choices)))
        choices = [f"{text} {'warm' if n == label else 'cold'}" for n, text in enumerate(choices)]
        rows.append({"question": ("film", "plot")[i % 2], "choices": choices, "label": label})
    texts = [" ".join([row["question"], *row["choices"]]) for row in rows]
    tokenizer = train_wordpiece(texts, TokenizerRecipe(vocab_size=150), 32)
    task = MultipleChoice(tokenizer, 32)
    torch.manual_seed(11)
    model = BertForMultipleChoice(tiny(tokenizer))
    task.prepare(model)
    return trained(task, model, task.encode(rows))


def ranking() -> list[float]:
    """42 steps of a two-layer BERT as a bi-encoder, of their own candidates and those of the other queries."""
    random = np.random.default_rng(7)
    rows = []
    for i in range(50):
        query = " ".join([*random.choice(WORDS[8:], random.integers(1, 6)), WORDS[i % 4]])
        candidates = [WORDS[(i + other) % 4 + 4] for other in range(3)]
        rows.append({"query": query, "candidates": candidates, "label": [2.0, 0.0, 0.0]})
    texts = [" ".join([row["query"], *row["candidates"]]) for row in rows]
    tokenizer = train_wordpiece(texts, TokenizerRecipe(vocab_size=150), 32)
    task = Ranking(tokenizer, 32, Recipe(ranking=RankingRecipe(temperature=0.1)))
    torch.manual_seed(11)
    model = BertModel(tiny(tokenizer))
    task.prepare(model)
    return trained(task, model, task.encode(rows))


def tiny(tokenizer: Any) -> BertConfig:
    return BertConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                      intermediate_size=64, initializer_range=0.1)  # fmt: skip


def masked_language_modelling() -> list[float]:
    """42 steps of a two-layer BERT whose masks are drawn anew in every epoch."""
    random = np.random.default_rng(7)
    texts = [" ".join(["a very", *random.choice(WORDS[:4], random.integers(1, 6)), "the end"]) for _ in range(50)]
    tokenizer = train_wordpiece(texts, TokenizerRecipe(vocab_size=150), 32)
    task = MaskedLanguageModelling(tokenizer, 32, Recipe())
    torch.manual_seed(11)
    model = BertForMaskedLM(
        BertConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                   intermediate_size=64, initializer_range=0.1)
    )  # fmt: skip
    task.prepare(model)
    examples = task.arrange(task.documents([{"text": text} for text in texts]), 3)
    return trained(task, model, examples, drawing(task.corrupt, 3))


def of_media(name: str, kind: Any, config: Mapping[str, Any], *, vary: bool = False, **options: Any) -> list[float]:
    """Some epochs of a tiny model of images or sounds on the task's sample; with `vary` examples change at random."""
    rows = SAMPLES[name].rows(50, 3)
    torch.manual_seed(11)
    made = AutoConfig.for_model(**config)
    processor = plain_hearing(made) if takes_sounds(made) else plain_processor(made)
    task = TASKS.part(name)(processor, 32)
    task.fit_labels(Split(rows), None)
    if name == "ctc-asr":
        made.vocab_size, made.pad_token_id = len(processor.tokenizer), processor.tokenizer.pad_token_id
    elif name == "seq2seq-asr":
        made.vocab_size, made.pad_token_id, made.eos_token_id = len(processor.tokenizer), 0, 2
        made.bos_token_id = made.decoder_start_token_id = 1
        made.suppress_tokens = made.begin_suppress_tokens = None
    else:
        made.num_labels = len(task.labels)
    model = kind._from_config(made)
    task.prepare(model)
    return trained(task, model, task.encode(rows), drawing(task.augment, 3) if vary else None, **options)


def trained(
    task: Any, model: Any, examples: Any, draw: Any = None, *, epochs: int = 6, lr: float = 5e-3
) -> list[float]:
    """The losses of some epochs with accumulation, clipping and warm-up."""
    recipe = TrainRecipe(epochs=epochs, batch_size=4, gradient_accumulation=2, clip=1.0)
    sampler = Sampler([len(e["input_ids"]) if "input_ids" in e else 1 for e in examples], 8, 3)
    total = count_steps(recipe, sampler.steps)
    optimizer = adamw(model, OptimizerRecipe(lr=lr))
    precision = pick_precision("fp32", torch.device("cpu"))
    loop = Loop(
        task, model, examples, sampler, optimizer, factor(ScheduleRecipe(warmup=0.1), total), precision, recipe, total,
        draw=draw,
    )  # fmt: skip
    return [float(progress.loss) for progress in loop]


def seq2seq() -> list[float]:
    """42 steps of a small T5 with dropout, which writes half of the words it reads."""
    chance = np.random.default_rng(7)
    rows = []
    for _ in range(50):
        chosen = [str(word) for word in chance.choice(GOOD[:6], chance.integers(2, 7))]
        rows.append({"source": " ".join(chosen), "target": " ".join(["the", *chosen[:1]])})
    task = Seq2Seq(t5_tokenizer(), 32)
    torch.manual_seed(11)
    model = T5ForConditionalGeneration(
        T5Config(vocab_size=len(task.tokenizer), d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2,
                 decoder_start_token_id=0)
    )  # fmt: skip
    task.prepare(model)
    return trained(task, model, task.encode(rows))


def causal_lm() -> list[float]:
    """42 steps of a small GPT-2 with dropout, which answers in conversations of one turn or two."""
    chance = np.random.default_rng(7)
    rows = []
    for i in range(50):
        turns = []
        for _ in range(1 + i % 2):
            said = " ".join(chance.choice(WORDS, chance.integers(1, 4)))
            turns += [{"role": "user", "content": said}, {"role": "assistant", "content": f"a {said.split()[0]} one"}]
        rows.append({"messages": turns})
    texts = [turn["content"] for row in rows for turn in row["messages"]]
    tokenizer = train_tokenizer(texts, TokenizerRecipe(vocab_size=300), "gpt2", 96)
    task = CausalLM(tokenizer, 96)
    torch.manual_seed(11)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=2, n_positions=96))
    task.prepare(model)
    return trained(task, model, task.encode(rows))


CURVES = {
    "text-classification": text_classification,
    "image-classification": image_classification,
    "seq2seq": seq2seq,
    "causal-lm": causal_lm,
    "pair": partial(of_task, "pair", 2),
    "regression": partial(of_task, "regression", 1),
    "multi-label": partial(of_task, "multi-label", 2),
    "token-classification": partial(of_task, "token-classification", 3, BertForTokenClassification),
    "extractive-qa": extractive_qa,
    "multiple-choice": multiple_choice,
    "ranking": ranking,
    "audio-classification": partial(
        of_media, "audio-classification", WhisperForAudioClassification, WHISPER, vary=True, lr=3e-3, epochs=26
    ),
    "ctc-asr": partial(of_media, "ctc-asr", Wav2Vec2ForCTC, WAV2VEC2),
    "seq2seq-asr": partial(of_media, "seq2seq-asr", WhisperForConditionalGeneration, WHISPER_WRITES),
    "object-detection": partial(of_media, "object-detection", YolosForObjectDetection, YOLOS, lr=3e-3, epochs=14),
    "mlm": masked_language_modelling,
}


def golden(name: str) -> Path:
    return GOLDEN / f"{name}.json"


def test_every_task_has_a_curve() -> None:
    assert set(TASKS) <= set(CURVES)
    assert {file.stem for file in GOLDEN.glob("*.json")} == set(CURVES)


@pytest.mark.parametrize("name", sorted(CURVES))
def test_curve(name: str) -> None:
    expected = json.loads(golden(name).read_text(encoding="utf-8"))
    assert len(expected) >= 20
    assert sum(expected[-5:]) < 0.6 * sum(expected[:5]), "a curve that does not learn holds little"
    assert CURVES[name]() == pytest.approx(expected, abs=TOLERANCE)


if __name__ == "__main__":
    for task_name in sys.argv[1:] or CURVES:
        golden(task_name).write_text(json.dumps(CURVES[task_name](), indent=0) + "\n", encoding="utf-8")
