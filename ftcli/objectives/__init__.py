"""What models learn from unlabelled data: one file and one line here per objective."""

from ftcli.registry import Table

OBJECTIVES = Table(
    "objective",
    {
        "clm": "ftcli.objectives.clm:CausalLanguageModelling",
        "denoising": "ftcli.objectives.denoising:Denoising",
        "mlm": "ftcli.objectives.mlm:MaskedLanguageModelling",
        "mlm+bow": "ftcli.objectives.bag_of_words:BagOfWords",
        "mlm+nsp": "ftcli.objectives.sentence_pairs:NextSentence",
        "mlm+sop": "ftcli.objectives.sentence_pairs:SentenceOrder",
        "masked-image": "ftcli.objectives.masked_image:MaskedImage",
        "rtd": "ftcli.objectives.rtd:ReplacedTokenDetection",
    },
)
