"""The page's sections, each made from the evidence; one module a topic."""

from hamjax.report.sections.about import about_section, provenance_section
from hamjax.report.sections.data import data_section
from hamjax.report.sections.failures import failures_section
from hamjax.report.sections.results import results_section
from hamjax.report.sections.subgroups import subgroups_section
from hamjax.report.sections.training import training_section
from hamjax.report.sections.uncertainty import uncertainty_section

# In the order of the page.
SECTIONS = (
    results_section,
    uncertainty_section,
    subgroups_section,
    failures_section,
    data_section,
    training_section,
    about_section,
    provenance_section,
)

__all__ = ["SECTIONS"]
