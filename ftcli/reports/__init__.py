"""Renderings of report.json by name: functions from the report (a dict) to text.

A person at a terminal gets `ftcli.reports.classification_report.as_rich` instead.
"""

from ftcli.registry import Table

REPORTS = Table(
    "report",
    {
        "text": "ftcli.reports.classification_report:as_text",
        "markdown": "ftcli.reports.markdown:as_markdown",
        "json": "ftcli.reports.json_report:dumps",
    },
)
