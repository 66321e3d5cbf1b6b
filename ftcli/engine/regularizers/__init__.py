"""What keeps a model from learning its training rows by heart: one file and one line here per key of `regularize`.

They take part in the order of the table. The rate of dropout is a setting of the model, and token dropout a change to
batches before any of these see them.
"""

from ftcli.registry import Table

_HERE = "ftcli.engine.regularizers"
REGULARIZERS = Table(
    "regularizer",
    {
        "freeze": f"{_HERE}.freeze:Freeze",
        "unfreeze": f"{_HERE}.unfreeze:Unfreeze",
        "reinit_layers": f"{_HERE}.reinit:ReinitLayers",
        "mixout": f"{_HERE}.mixout:Mixout",
        "mixup": f"{_HERE}.mixup:Mixup",
        "cutmix": f"{_HERE}.cutmix:CutMix",
        "label_smoothing": f"{_HERE}.targets:Targets",
        "focal": f"{_HERE}.targets:Targets",
        "class_weights": f"{_HERE}.targets:Targets",
        "neftune": f"{_HERE}.neftune:NefTune",
        "r_drop": f"{_HERE}.r_drop:RDrop",
        "fgm": f"{_HERE}.fgm:Fgm",
        "freelb": f"{_HERE}.freelb:FreeLb",
        "smart": f"{_HERE}.smart:Smart",
        "l2_sp": f"{_HERE}.l2_sp:L2Sp",
        "ema": f"{_HERE}.averages:Ema",
        "swa": f"{_HERE}.averages:Swa",
    },
)
