"""One report and its page, for all tests of this folder."""

from __future__ import annotations

import pytest
from sample_report import Page, sample

from graphopt.report.data import ReportData
from graphopt.report.page import write_page


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> ReportData:
    return sample(tmp_path_factory.mktemp("crops"))


@pytest.fixture(scope="session")
def page(data: ReportData, tmp_path_factory: pytest.TempPathFactory) -> Page:
    path = tmp_path_factory.mktemp("page") / "deep" / "report.html"
    write_page(data, path)
    return Page(path)
