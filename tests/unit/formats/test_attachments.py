"""Payloads within messages: their type, their name, and the text that is read of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.references import reference_of
from services.formats.attachments import form, media_type
from services.formats.texts import LONGEST, decoded, html_text, rtf_text

HTML = b"""<!DOCTYPE html><html><head><meta charset="utf-8"><title>Report</title><style>p{color:red}</style></head>
<body><h1>Chest&nbsp;X-ray</h1><p title="a > b">Lungs <b>clear</b>, p &lt; 0.05.<br>No  effusion.</p>
<table><tr><td>Hb</td><td>12.1</td></tr></table><script>alert("x")</SCRIPT><!-- not shown --></body></html>"""
RTF = rb"""{\rtf1\ansi\ansicpg1252\deff0{\fonttbl{\f0\fswiss Helvetica;}}{\*\generator Riched20;}{\info{\author Doe}}
\f0\pard Lungs {\b clear}, caf\'e9 f\u252?r \u-10179?\u-8704?.\par Second line\tab \{here\} \emdash{} end
{\pict\pngblip 89504e470d0a}\bin4 }}}}{\field{\*\fldinst HYPERLINK x}{\fldrslt link}}}"""


def test_html_reads_as_a_browser_shows_it():
    assert html_text(HTML) == "Chest X-ray\n\nLungs clear, p < 0.05.\nNo effusion.\n\nHb 12.1"


def test_rtf_reads_as_a_word_processor_shows_it():
    assert rtf_text(RTF) == "Lungs clear, café für 😀.\nSecond line {here} — endlink"


def test_a_text_in_another_character_set_is_read_as_it_was_written():
    assert decoded("für".encode("latin-1"), "iso-8859-1") == "für"
    assert decoded("für".encode(), "us-ascii") == "für", "the sender's word need not be true"
    assert decoded("für".encode("cp1252"), "no-such-set") == "für"
    for codec in ("utf-8-sig", "utf-16"):
        assert decoded("für".encode(codec), "iso-8859-1") == "für", "a byte-order mark is stronger than a name"
    assert html_text('<meta charset="iso-8859-5"><p>Приём'.encode("iso-8859-5")) == "Приём"


@pytest.mark.parametrize(
    ("payload", "named", "kind", "text", "kept"),
    [
        (b"Lungs clear.\r\n", "text/plain; charset=utf-8", "text/plain", "Lungs clear.", False),
        (HTML, "text/html", "text/html", html_text(HTML), True),
        (RTF, "application/rtf", "application/rtf", rtf_text(RTF), True),
        (b"%PDF-1.7 ...", "application/pdf", "application/pdf", "", True),
        (b"%PDF-1.7 ...", "", "application/pdf", "", True),
        (b"\xff\xd8\xff\xe0", "application/octet-stream", "image/jpeg", "", True),
        (b"anything", "no type", "application/octet-stream", "", True),
    ],
)
def test_what_is_not_plain_text_is_kept_under_the_name_of_its_bytes(payload, named, kind, text, kept):
    found = form(payload, named)
    assert (found.content_type, found.text) == (kind, text)
    assert found.reference == (reference_of(payload) if kept else "")
    assert found.attachment is None or found.attachment.data == payload


@given(st.text())
def test_a_media_type_is_one_or_unknown(name):
    assert media_type(name) == "application/octet-stream" or media_type(name).isascii()


MARKUP = st.lists(
    st.sampled_from([b"<", b">", b"</", b"<script", b"<!--", b"-->", b"<p a='", b'"', b"&#x", b"text", b"\xff"])
)
CONTROLS = st.lists(
    st.sampled_from([b"{", b"}", b"\\", b"\\u-1?", b"\\uc9", b"\\'", b"\\'e", b"\\bin99 ", b"\\*", b"a", b"\xff"])
)


@given(MARKUP.map(b"".join) | st.binary(), st.text(max_size=12))
def test_no_html_raises(payload, charset):
    html_text(payload, charset)


@given(CONTROLS.map(b"".join) | st.binary())
def test_no_rtf_raises_and_none_gives_half_characters(payload):
    rtf_text(b"{\\rtf" + payload).encode()


@pytest.mark.parametrize("part", [b"<a ", b"<!--", b"<script>", b"<a b='", b"<"])
def test_a_hostile_document_of_the_greatest_length_is_read_in_one_pass(part):
    html_text((part * LONGEST)[:LONGEST])


def test_of_a_longer_document_no_text_is_read():
    assert html_text(b"<p>a" + b" " * LONGEST) == rtf_text(b"{\\rtf a" + b" " * LONGEST) == ""
    assert form(b"<p>a" + b" " * LONGEST, "text/html").attachment is not None


def test_the_content_is_not_shown():
    assert "Lungs" not in repr(form(HTML, "text/html").attachment)
