"""The ward page in a real browser where nobody is present any more, as after the replay of a data set."""

import asyncio

import pytest
from aiohttp.test_utils import TestServer

from services.bus.objects import open_store
from services.deliver.board import Board
from services.deliver.health_view import HealthView
from services.deliver.stream import Stream
from services.deliver.web import application
from services.domain.site import Site
from tests.browser import opened
from tests.unit.deliver.support import SECRET, prediction, record

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


@pytest.mark.parametrize(("present", "listed"), [([], ["gone1", "gone2"]), (["here"], ["here"])])
async def test_the_discharged_are_listed_only_where_nobody_is_present(tmp_path, present, listed):
    board = Board()
    for patient in ("gone1", "gone2", *present):
        board.take_record(record(patient=patient, finished=patient.startswith("gone")))
        board.take_prediction(prediction(patient))
    app = application(board, Stream("run"), HealthView(), open_store("memory:"), [], Site(secret=SECRET))
    async with TestServer(app) as server:
        await asyncio.to_thread(_look, str(server.make_url("/")), tmp_path, listed)


def _look(address, profile, listed):
    with opened(address, profile) as page:
        page.wait(lambda: sorted(page.order()) == listed, f"{listed}")
        page.script("document.getElementById('left').click()")
        page.wait(lambda: {"gone1", "gone2"} <= set(page.order()), "the discharged, asked for")
        assert page.script("return window.__wrong") == []
