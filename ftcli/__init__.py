"""ftcli: from a foundation model to a number you can trust."""

__version__ = "0.1.0"
