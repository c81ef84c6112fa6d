"""The report: every figure and table of the paper in order, ours beside the published, and the 18 claims."""

from calm.paper.report.comparison import compare, read_published
from calm.paper.report.page import write_report

__all__ = ["compare", "read_published", "write_report"]
