"""The page in a real browser, against the running system: what is sent over MLLP shows without a reload."""

import re
from typing import Any

import pytest
from selenium.webdriver.common.keys import Keys

from services.edge.mllp_client import MllpClient
from services.local.replay.channels import split_address
from tests.browser import opened

pytestmark = [pytest.mark.kafka, pytest.mark.triton, pytest.mark.browser, pytest.mark.timeout(180)]

LOADING = """
const hints = [...document.querySelectorAll("main .hint")];
return hints.some((one) => one.checkVisibility() && /Loading/.test(one.textContent));
"""
UNREADABLE = """
const seen = (selector) => [...document.querySelectorAll(selector)].filter((one) => one.checkVisibility());
const levels = seen("h1, h2, h3, h4, h5, h6").map((one) => Number(one.tagName[1]));
const unnamed = (one) => !(one.textContent.trim() || one.getAttribute("aria-label") || one.labels?.length);
return [
  ...seen("th").filter((one) => !one.textContent.trim()).map(() => "a column without a name"),
  ...seen("a, button, select, input, [role=img], [role=group], [tabindex='0']").filter(unnamed)
    .map((one) => `no name: ${one.outerHTML}`),
  ...seen("img").filter((one) => !one.alt).map(() => "a picture without a text"),
  ...levels.filter((level, n) => n && level > levels[n - 1] + 1).map((level) => `a level is missing above h${level}`),
  ...(levels.filter((level) => level === 1).length === 1 ? [] : ["not one title"]),
];
"""
"""What a screen reader or a keyboard could not make sense of in the view that shows (WCAG 2.2: 1.1.1, 1.3.1, 4.1.2)."""

WELL = {"8867-4": 76, "8480-6": 124, "8462-4": 74, "9279-1": 14, "8310-5": 36.8, "59408-5": 98, "2524-7": 0.9}
ILL = {"8867-4": 138, "8480-6": 78, "8462-4": 42, "9279-1": 34, "8310-5": 39.4, "59408-5": 87, "2524-7": 8.5}
UNITS = {
    **{"8867-4": "/min", "8480-6": "mm[Hg]", "8462-4": "mm[Hg]", "9279-1": "/min"},
    **{"8310-5": "Cel", "59408-5": "%", "2524-7": "mmol/L"},
}


def oru(number: str, hour: int, values: dict[str, float], *, authority: str = "E2E", extra: str = "") -> bytes:
    at = f"202603020{hour}0000"
    lines = [
        f"MSH|^~\\&|LAB|{authority}|WARDSTREAM|W|{at}||ORU^R01^ORU_R01|P{number}{hour}|P|2.5.1",
        f"PID|1||{number}^^^{authority}^MR||QUIXOTE^DULCINEA||19480517|F",
        f"PV1|1|I|WARD7^1^2^{authority}||||||||||||||||V{number}|||||||||||||||||||||||||20260301220000",
        f"OBR|1|P{number}{hour}|F{number}{hour}|PANEL^Vitals^L|||{at}|||||||||||||||{at}|||F",
    ]
    for n, (code, value) in enumerate(values.items(), 1):
        lines.append(f"OBX|{n}|NM|{code}^^LN||{value}|{UNITS[code]}|||||F|||{at}")
    return ("\r".join(lines) + "\r" + extra).encode()


async def send(system: Any, *messages: bytes) -> None:
    client = MllpClient(*split_address(system.edge.mllp))
    try:
        assert [(await client.send(message))[0] for message in messages] == ["AA"] * len(messages)
    finally:
        await client.close()


@pytest.fixture(scope="module")
def page(system, tmp_path_factory):
    with opened(system.page, tmp_path_factory.mktemp("chromium")) as shown:
        shown.script("window.__loaded = 1")  # gone after a reload
        yield shown


async def test_a_patient_appears_and_moves_by_risk_without_a_reload(system, page):
    well, ill = system.key("7001"), system.key("7002")
    await send(system, *(oru("7001", hour, WELL) for hour in (1, 2)), *(oru("7002", hour, WELL) for hour in (1, 2)))
    page.wait(lambda: page.scored(well) and page.scored(ill), "both patients with risks")
    await send(system, oru("7002", 3, ILL), oru("7002", 4, ILL))
    page.wait(lambda: page.above(ill, well), "the ill patient above the well one")
    await send(system, oru("7002", 5, WELL), oru("7001", 5, ILL), oru("7001", 6, ILL))
    page.wait(lambda: page.above(well, ill), "the order turned round")
    assert page.script("return window.__loaded") == 1


async def test_choosing_a_patient_shows_series_risks_and_what_drove_them(system, page):
    key = system.key("7003")
    odd = "OBX|9|NM|ODD^<img src=x onerror=alert(1)>^L||5|mg|||||F|||20260302060000\r"
    await send(system, *(oru("7003", hour, ILL) for hour in (1, 2, 3)), oru("7003", 6, ILL, extra=odd))
    page.wait(lambda: page.scored(key), "the patient's risks")
    row = page.wait(lambda: page.all(f'tr[data-patient="{key}"]'), "the row")[0]
    page.script("arguments[0].focus()", row)
    page.driver.switch_to.active_element.send_keys(Keys.ENTER)
    page.wait(lambda: len(page.all('[data-group="vitals"] svg polyline')) >= 5, "charts of the vital signs")
    page.wait(lambda: page.all("#courses svg polyline"), "the risks over time")
    page.wait(lambda: page.all("#drivers .driver"), "what drove the risk")
    view = page.text("#patient")
    assert "Heart rate" in page.text("#drivers")
    assert "138 /min" in view
    assert "Notes" in view
    assert "missing" in view
    assert "<img src=x" in view  # a sender's text is text
    assert not page.all('#patient img[src="x"]')


async def test_a_later_result_reaches_the_open_patient_view(system, page):
    key = system.key("7004")
    await send(system, oru("7004", 1, WELL))
    page.wait(lambda: key in page.order(), "the patient")
    page.script("location.hash = arguments[0]", f"#ward/{key}")
    page.wait(lambda: "until 2026-03-02 01:00" in page.text("#patient"), "the patient's view")
    await send(system, oru("7004", 2, WELL | {"8867-4": 111}))
    page.wait(lambda: "111" in page.text('[data-code="8867-4"] .readout'), "the new value")


async def test_a_discharged_patient_leaves_the_list_and_a_merged_one_the_ward(system, page):
    gone, old, survivor = system.key("7005"), system.key("7006"), system.key("7007")
    await send(system, oru("7005", 1, WELL), oru("7006", 1, WELL), oru("7007", 1, WELL))
    page.wait(lambda: {gone, old, survivor} <= set(page.order()), "all three")
    page.script("location.hash = arguments[0]", f"#ward/{old}")
    head = "MSH|^~\\&|ADT|E2E|WARDSTREAM|W|20260302080000||{}|{}|P|2.5.1\rEVN|{}|20260302080000\r"
    discharge = head.format("ADT^A03^ADT_A03", "D7005", "A03") + (
        "PID|1||7005^^^E2E^MR||QUIXOTE^DULCINEA||19480517|F\r"
        "PV1|1|I|WARD7^1^2^E2E||||||||||||||||V7005|||||||||||||||||01||||||||20260301220000|20260302080000\r"
    )
    merge = head.format("ADT^A40^ADT_A39", "M7006", "A40") + "PID|1||7007^^^E2E^MR\rMRG|7006^^^E2E^MR\r"
    await send(system, discharge.encode(), merge.encode())
    page.wait(lambda: not {gone, old} & set(page.order()), "the discharged and the merged one leave")
    page.wait(lambda: page.script("return location.hash") == f"#ward/{survivor}", "the view follows the merge")
    page.script("document.getElementById('left').click()")
    page.wait(lambda: gone in page.order() and old not in page.order(), "the discharged one, asked for")
    page.script("document.getElementById('left').click()")


async def test_a_simulated_patient_is_labelled_everywhere(system, page):
    key = system.key("7008", "SYNTHETIC")
    await send(system, oru("7008", 1, WELL, authority="SYNTHETIC"))
    page.wait(lambda: page.text(f'tr[data-patient="{key}"] .badge.synthetic') == "SYNTHETIC", "the label in its row")
    page.wait(lambda: "SYNTHETIC" in page.script("return document.getElementById('source').title"), "in the header")
    page.script("location.hash = arguments[0]", f"#ward/{key}")
    page.wait(lambda: page.text("#patient h2 .badge.synthetic") == "SYNTHETIC", "the label in its view")


def test_the_pipeline_and_the_models_show_figures(page):
    page.script("location.hash = '#pipeline'")
    figure = '[data-figure="Acknowledged to prediction, p95"] b'
    page.wait(lambda: page.text(figure).endswith("s"), "the latency")
    page.wait(lambda: "risk_fusion" in page.text('[data-figure="Risks by state"]'), "the predictions")
    assert "score" in page.text('[data-figure="Backlog by step"]')
    page.script("location.hash = '#models'")
    page.wait(lambda: "Alert from" in page.text('[data-model="risk_fusion"]'), "the model")


def test_every_view_can_be_read_aloud_used_by_keyboard_and_held_in_a_hand(system, page):
    views = ("#ward", f"#ward/{system.key('7003')}", "#pipeline", "#models")
    for view in views:
        page.script("location.hash = arguments[0]", view)
        page.wait(lambda: not page.script(LOADING), f"{view} drawn")
        assert page.script(UNREADABLE) == [], view
    page.script("document.querySelector('.skip').focus()")
    page.driver.switch_to.active_element.send_keys(Keys.ENTER)
    assert page.driver.switch_to.active_element.get_attribute("id") == "main"
    assert page.script("return location.hash") == "#models"
    phone = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    try:
        for view in views:
            page.script("location.hash = arguments[0]", view)
            page.wait(lambda: not page.script(LOADING), f"{view} drawn")
            assert page.script("return document.documentElement.scrollWidth") <= 390, view
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_nothing_in_the_document_identifies_anybody_and_nothing_went_wrong(page):
    for view in ("#ward", "#pipeline", "#models"):
        page.script("location.hash = arguments[0]", view)
        html = page.script("return document.documentElement.outerHTML + location.href")
        for word in ("QUIXOTE", "DULCINEA", "19480517", "1948-05-17", *(f"700{n}" for n in range(1, 9))):
            # Standing alone: a key, a port or a figure may hold the digits of a number.
            assert not re.search(rf"(?<![\w.]){word}(?!\w)", html), view
    assert page.script("return window.__wrong") == []
    assert page.script("return window.__loaded") == 1
    assert [entry["message"] for entry in page.driver.get_log("browser") if entry["level"] == "SEVERE"] == []


async def test_after_a_restart_the_page_comes_back_by_itself_with_the_same_ward(system, page):
    page.script("location.hash = '#ward'")
    before = page.wait(page.order, "the ward")
    system.services.kill("deliver")
    page.wait(lambda: "lost" in page.text("#live"), "that the connection is lost")
    system.services.start("deliver")
    system.services.await_ready()
    page.wait(lambda: page.text("#live") == "live", "the live stream again")
    await send(system, oru("7009", 1, WELL))
    page.wait(lambda: page.scored(system.key("7009")), "a new patient")
    assert set(page.order()) == {*before, system.key("7009")}
    assert page.script("return window.__loaded") == 1
