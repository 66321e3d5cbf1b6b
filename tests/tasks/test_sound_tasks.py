"""Tasks of sounds: features are the extractor's own, answers depend on nothing beside a row, others load the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModelForSpeechSeq2Seq,
    AutoTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
    WhisperForAudioClassification,
    pipeline,
)

from ftcli.data.sounds import decode
from ftcli.data.tokens import Tokens, TokensBuilder
from ftcli.data.waves import Waves
from ftcli.errors import UsageError
from ftcli.models.audio_processors import plain_hearing
from ftcli.models.presets import preset
from ftcli.runs.trained import inherited, open_trained
from tests.sounds import as_bytes, glides, save, spelt, tones
from tests.tasks.samples import SAMPLES
from tests.tiny import run_cli, write_csv, write_parquet

INPUTS = {"whisper-digits": "input_features", "ast-base": "input_values", "wav2vec2-tiny": "input_values"}


def waves(name: str, longest: float = 30, **changes: Any) -> tuple[Waves, Any]:
    config = AutoConfig.for_model(**{**preset(name), **changes})
    extractor = plain_hearing(config).extractor
    return Waves(extractor, config, {INPUTS[name], "attention_mask"}, longest), extractor


@pytest.mark.parametrize("name", INPUTS)
def test_features_are_the_extractor_s_own(name: str) -> None:
    small = {"max_length": 64, "num_mel_bins": 32} if name == "ast-base" else {}
    made, extractor = waves(name, **small)
    rows = [{"audio": as_bytes(tones([300 + 50 * n] * (n + 1), n))} for n in range(3)]
    examples = made.encode(rows)
    kept = TokensBuilder()
    kept.add(examples)
    tokens = kept.finish()
    assert isinstance(tokens, Tokens), "no Python object a row"
    batch = made.collate(list(tokens))
    sounds = [decode(row["audio"], 16_000)[0] for row in rows]
    expected = extractor(
        sounds, sampling_rate=16_000, return_tensors="pt", **({"padding": True} if name == "wav2vec2-tiny" else {})
    )
    values = batch[INPUTS[name]]
    assert values.shape[1:] == expected[INPUTS[name]].shape[1:]
    assert torch.allclose(values, expected[INPUTS[name]].float(), atol=1e-6)
    if name == "wav2vec2-tiny":
        assert torch.equal(batch["attention_mask"], expected["attention_mask"].long())
    assert batch["tokens"] == sum(example["tokens"] for example in examples)


def test_long_and_very_short_sounds() -> None:
    made, _ = waves("wav2vec2-tiny", 0.3)
    long, short = made.encode([{"audio": as_bytes(tones([300] * 6))}, {"audio": as_bytes(np.ones(9, np.float32))}])
    assert long["truncated"]
    assert not short["truncated"]
    assert len(long["values"]) == 0.3 * 16_000
    assert len(short["values"]) == 0.1 * 16_000
    with pytest.raises(UsageError, match="makes input_values"):
        Waves(Wav2Vec2FeatureExtractor(), None, {"input_features"}, 30)


@pytest.mark.parametrize("name", ["whisper-digits", "wav2vec2-tiny"])
def test_a_varied_sound_is_another_of_the_same_kind(name: str) -> None:
    made, _ = waves(name)
    [example] = made.encode([{"audio": as_bytes(tones([300, 500]))}])

    def varied(seed: int) -> Any:
        return made.features(made.varied(example, np.random.default_rng(seed)))

    assert np.array_equal(varied(1), varied(1)), "the same for a seed"
    assert not np.array_equal(varied(1)[:100], varied(2)[:100])
    assert np.isfinite(varied(3)).all()
    assert varied(1).shape[1:] == made.features(example).shape[1:]
    silent = made.varied(made.encode([{"audio": as_bytes(np.zeros(8000, np.float32))}])[0], np.random.default_rng(0))
    assert np.isfinite(made.features(silent)).all()


@pytest.fixture(scope="module")
def spelling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that writes what it hears."""
    folder = tmp_path_factory.mktemp("spelling")
    sample = SAMPLES["ctc-asr"]
    data = sample.data(folder / "data", train=sample.rows(24, 0), test=sample.rows(12, 2))
    done = run_cli("finetune", "--model", "preset:wav2vec2-tiny", "--data", str(data), "--out", str(folder / "run"),
                   *sample.options, "-q")  # fmt: skip
    assert done.code == 0, done.stderr
    return folder / "run"


def test_what_is_written_depends_on_nothing_beside_it(spelling: Path) -> None:
    trained = open_trained(inherited(str(spelling), {}, None))
    rows = [{"audio": row["audio"]} for row in spelt(6, 5)]
    task: Any = trained.task
    trained.model.eval()
    examples = task.encode(rows)
    with torch.inference_mode():
        batch = task.collate(examples)
        together = task.forward(trained.model, batch)
        for place, example in enumerate(examples):
            single = task.collate([example])
            alone = task.forward(trained.model, single)[0]
            frames = int(batch["frames"][place])
            assert frames == len(alone)
            assert torch.allclose(alone, together[place, :frames], atol=2e-4)


def test_transformers_write_the_same(spelling: Path, tmp_path: Path) -> None:
    files = [save(tmp_path / f"{n}.wav", decode(row["audio"], 16_000)[0], 16_000) for n, row in enumerate(spelt(6, 5))]
    (tmp_path / "list.txt").write_text("".join(f"{file}\n" for file in files), encoding="utf-8")
    done = run_cli("predict", str(spelling), str(tmp_path / "list.txt"), "-q")
    assert done.code == 0, done.stderr
    answers = [json.loads(line)["prediction"] for line in done.stdout.splitlines()]
    write = pipeline("automatic-speech-recognition", model=str(spelling / "model"))
    for file, answer in zip(files, answers, strict=True):
        assert " ".join(write({"raw": decode(str(file), 16_000)[0], "sampling_rate": 16_000})["text"].split()) == answer
    beams = run_cli("predict", str(spelling), str(tmp_path / "list.txt"), "-q", "--set", "generation.num_beams=4")
    assert beams.code == 0, beams.stderr
    assert len(beams.stdout.splitlines()) == len(files)


def test_a_vocabulary_is_kept_where_it_fits(spelling: Path, tmp_path: Path) -> None:
    known = [{**row, "transcript": row["transcript"].upper()} for row in spelt(8, 5)]
    new = [{**row, "transcript": row["transcript"].replace("a", "ä")} for row in spelt(8, 5)]
    for name, rows, said in (("known", known, "lower case"), ("new", new, "characters in the transcripts: bcä")):
        table = write_parquet(rows, tmp_path / f"{name}.parquet")
        done = run_cli("finetune", "--model", str(spelling), "--data", str(table), "--out", str(tmp_path / name),
                       "--max-steps", "1")  # fmt: skip
        assert done.code == 0, done.stderr
        assert said in done.stderr
        assert ("starts fresh: lm_head" in done.stderr) == (name == "new")
    report = json.loads((tmp_path / "known" / "report.json").read_text())
    assert report["metrics"]["cer"] < 0.5, "what it knew, it still knows"


def test_a_sound_too_short_for_its_text_is_said(tmp_path: Path) -> None:
    rows = [{**row, "transcript": "abc" * 30} if number == 3 else row for number, row in enumerate(spelt(12, 1))]
    table = write_parquet(rows, tmp_path / "train.parquet")
    done = run_cli("finetune", "--model", "preset:wav2vec2-tiny", "--data", str(table), "--out", str(tmp_path / "run"),
                   *SAMPLES["ctc-asr"].options, "--max-steps", "2", "--set", "audio.max_seconds=0.35")  # fmt: skip
    assert done.code == 0, done.stderr
    assert "sounds are too short for their transcripts" in done.stderr
    assert "are longer than 0.35 s and were cut (audio.max_seconds)" in done.stderr
    assert np.isfinite(json.loads((tmp_path / "run" / "report.json").read_text())["metrics"]["loss"])


SMALL = {
    "wav2vec2-tiny": (Wav2Vec2ForSequenceClassification, {"num_hidden_layers": 2, "hidden_size": 32,
                                                           "conv_dim": [32] * 5, "intermediate_size": 64}),
    "whisper-digits": (WhisperForAudioClassification, {"encoder_layers": 2, "d_model": 32, "encoder_ffn_dim": 64}),
}  # fmt: skip


def small_base(name: str, folder: Path) -> Path:
    """A model of sounds with a head for two other labels, as it comes from elsewhere."""
    kind, changes = SMALL[name]
    config = AutoConfig.for_model(**{**preset(name), **changes})
    config.id2label, config.label2id = {0: "yes", 1: "no"}, {"yes": 0, "no": 1}
    torch.manual_seed(0)
    kind(config).save_pretrained(folder)
    plain_hearing(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", SMALL)
def test_lora_on_sounds(tmp_path: Path, name: str) -> None:
    """What is saved lies beside the base, and gives the same answers; of the base only the head starts fresh."""
    base, sample = small_base(name, tmp_path / "base"), SAMPLES["audio-classification"]
    data = sample.data(tmp_path / "data", train=glides(16, 0), validation=glides(8, 1), test=glides(8, 2))
    run = tmp_path / "run"
    done = run_cli("finetune", "--model", str(base), "--data", str(data), "--out", str(run),
                   "--method", "lora", "--max-steps", "6", "--json")  # fmt: skip
    assert done.code == 0, done.stderr
    fresh = next(line for line in done.stderr.splitlines() if "starts fresh: " in line).partition("fresh: ")[2]
    assert {part.split(".")[0] for part in fresh.split(", ")} <= {"classifier", "projector"}
    assert (run / "model" / "base.json").is_file()
    again = run_cli("evaluate", str(run), "--data", str(data), "--json", "-q")
    assert again.code == 0, again.stderr
    assert json.loads(again.stdout)["metrics"] == pytest.approx(json.loads(done.stdout)["metrics"], rel=1e-4)


def test_class_folders_of_any_rate_are_recognised_and_scored(tmp_path: Path) -> None:
    for split, count in (("train", 16), ("test", 8)):
        for number, row in enumerate(glides(count, len(split))):
            rate, suffix = (8000, 16_000, 22_050, 44_100)[number % 4], ("wav", "flac")[number % 2]
            samples, _ = decode(row["audio"], rate)
            save(tmp_path / "data" / split / row["label"] / f"{number}.{suffix}", samples, rate)
    sample = SAMPLES["audio-classification"]
    done = run_cli("finetune", "--model", "preset:whisper-digits", "--data", str(tmp_path / "data"), "--out",
                   str(tmp_path / "run"), *sample.options, "--max-steps", "3", "--json")  # fmt: skip
    assert done.code == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["task"] == "audio-classification"
    assert [line["label"] for line in report["classes"]] == ["falling", "rising"]
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "pipeline_tag: audio-classification" in card
    assert "sound.wav" in card
    files = sorted((tmp_path / "data" / "test").glob("*/*"))
    listed = run_cli("predict", str(tmp_path / "run"), str(tmp_path / "data"), "-q")
    answers = [json.loads(line) for line in listed.stdout.splitlines()]
    assert [answer["audio"] for answer in answers] == [str(file) for file in files]
    classify = pipeline("audio-classification", model=str(tmp_path / "run" / "model"))
    for file, answer in zip(files, answers, strict=True):
        best = classify({"raw": decode(str(file), 16_000)[0], "sampling_rate": 16_000})[0]
        assert (best["label"], best["score"]) == (answer["prediction"], pytest.approx(answer["score"], abs=1e-4))


def test_tables_of_paths_say_which_task(tmp_path: Path) -> None:
    for number in range(12):
        save(tmp_path / f"{number}.wav", tones([300 + 40 * number]))
    said = [{"path": f"{n}.wav", "sentence": f"number {n} is said here"} for n in range(12)]
    done = run_cli("finetune", "--model", "preset:wav2vec2-tiny", "--data", str(write_csv(said, tmp_path / "a.csv")),
                   "--dry-run", "--json")  # fmt: skip
    assert done.code == 0, done.stderr
    assert "task ctc-asr, since 'path' holds sounds and 'sentence' what is said" in done.stderr
    texts = run_cli("finetune", "--model", "preset:bert-tiny", "--data", str(tmp_path / "a.csv"), "--task",
                    "ctc-asr", "--dry-run")  # fmt: skip
    assert texts.code == 2
    assert "ctc-asr is learnt from sounds" in texts.stderr


def test_whisper_writes_what_transformers_generates(tmp_path: Path) -> None:
    """Found to be for Whisper by itself; the saved model and tokenizer give others the same texts."""
    sample = SAMPLES["seq2seq-asr"]
    data = sample.data(tmp_path / "data", train=sample.rows(16, 0), test=sample.rows(6, 2))
    done = run_cli("finetune", "--model", "preset:whisper-digits", "--data", str(data), "--out", str(tmp_path / "run"),
                   *sample.options, "--max-steps", "30")  # fmt: skip
    assert done.code == 0, done.stderr
    assert "task seq2seq-asr, since 'audio' holds sounds" in done.stderr
    rows = spelt(5, 9)
    (tmp_path / "in.txt").write_text(
        "".join(
            f"{save(tmp_path / f'{n}.wav', decode(row['audio'], 16_000)[0], 16_000)}\n" for n, row in enumerate(rows)
        )
    )
    answers = run_cli("predict", str(tmp_path / "run"), str(tmp_path / "in.txt"), "-q")
    assert answers.code == 0, answers.stderr
    model = AutoModelForSpeechSeq2Seq.from_pretrained(tmp_path / "run" / "model")
    extractor = AutoFeatureExtractor.from_pretrained(tmp_path / "run" / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run" / "model")
    for number, line in enumerate(answers.stdout.splitlines()):
        sound, _ = decode(str(tmp_path / f"{number}.wav"), 16_000)
        features = extractor(sound, sampling_rate=16_000, return_tensors="pt")["input_features"]
        ids = model.generate(input_features=features, max_new_tokens=8)
        text = " ".join(tokenizer.decode(ids[0].tolist(), skip_special_tokens=True).split())
        assert json.loads(line)["prediction"] == text
