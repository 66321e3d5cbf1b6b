"""What models learn to do: one file and one line here per task."""

from ftcli.registry import Table

TASKS = Table(
    "task",
    {
        "text-classification": "ftcli.tasks.text_classification:TextClassification",
        "multi-label": "ftcli.tasks.multi_label:MultiLabel",
        "regression": "ftcli.tasks.regression:Regression",
        "token-classification": "ftcli.tasks.token_classification:TokenClassification",
        "pair": "ftcli.tasks.pair:PairClassification",
        "extractive-qa": "ftcli.tasks.extractive_qa:ExtractiveQA",
        "multiple-choice": "ftcli.tasks.multiple_choice:MultipleChoice",
        "ranking": "ftcli.tasks.ranking:Ranking",
        "audio-classification": "ftcli.tasks.audio_classification:AudioClassification",
        "ctc-asr": "ftcli.tasks.ctc_asr:CtcAsr",
        "seq2seq-asr": "ftcli.tasks.seq2seq_asr:Seq2SeqAsr",
        "causal-lm": "ftcli.tasks.causal_lm:CausalLM",
        "seq2seq": "ftcli.tasks.seq2seq:Seq2Seq",
        "image-classification": "ftcli.tasks.image_classification:ImageClassification",
        "object-detection": "ftcli.tasks.object_detection:ObjectDetection",
    },
)
