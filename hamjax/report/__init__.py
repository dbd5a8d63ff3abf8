"""What a run tells a person: text, figures and one HTML page."""

from hamjax.report.start import describe_start
from hamjax.report.terminal import format_summary
from hamjax.report.write import write_report

__all__ = ["describe_start", "format_summary", "write_report"]
