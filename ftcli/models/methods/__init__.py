"""Ways to adapt a pretrained model to a task: one file and one line here per method."""

from ftcli.registry import Table

METHODS = Table(
    "method",
    {
        "bitfit": "ftcli.models.methods.bitfit:BitFit",
        "full": "ftcli.models.methods.base:Method",
        "head": "ftcli.models.methods.head:Head",
        "head-then-full": "ftcli.models.methods.head:HeadThenFull",
        "ln": "ftcli.models.methods.layer_norm:LayerNorms",
    },
)
