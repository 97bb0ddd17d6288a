"""Tokens: who is let in over HTTP, and where nobody has to ask."""

import argparse
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.bus.access import Scope, Tokens, command, is_loopback, tokens_for
from services.bus.settings import BadSetting, load


def made(folder, capsys, name="ward", scopes="read"):
    """A new token; its line is in `folder/tokens`."""
    assert command(argparse.Namespace(name=name, scopes=scopes, file=folder / "tokens")) == 0
    return capsys.readouterr().out.strip()


def test_a_token_is_shown_once_and_the_file_does_not_hold_it(tmp_path, capsys):
    token = made(tmp_path, capsys, scopes="read,send")
    assert re.fullmatch(r"ws_[\w-]{43}", token)
    assert token not in (tmp_path / "tokens").read_text()
    client = Tokens(tmp_path / "tokens").client(token)
    assert (client.name, client.scopes) == ("ward", {Scope.READ, Scope.SEND})
    assert token not in repr(client)


def test_a_name_stands_for_one_token(tmp_path, capsys):
    made(tmp_path, capsys)
    assert command(argparse.Namespace(name="ward", scopes="read", file=tmp_path / "tokens")) == 1
    assert "take its line out" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "scopes"), [("a b", "read"), ("", "read"), ("a", "write"), ("a", ""), ("a", "READ")])
def test_a_name_or_scope_that_is_none_is_refused_and_the_file_left_alone(tmp_path, name, scopes):
    with pytest.raises(BadSetting):
        command(argparse.Namespace(name=name, scopes=scopes, file=tmp_path / "tokens"))
    assert not (tmp_path / "tokens").exists()


@given(st.text(max_size=60))
def test_no_other_text_is_a_token(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "one-token"
    path.write_text(f"a read sha256:{'0' * 64}\n")
    assert Tokens(path).client(text) is None


def test_who_is_taken_out_of_the_file_is_out_and_who_is_put_in_is_in(tmp_path, capsys):
    first = made(tmp_path, capsys, "first")
    tokens = Tokens(tmp_path / "tokens")
    second = made(tmp_path, capsys, "second")
    assert tokens.client(first)
    assert tokens.client(second)
    lines = (tmp_path / "tokens").read_text().splitlines()
    (tmp_path / "tokens").write_text(f"# only the second\n\n{lines[1]}  # ward 3\n")
    assert tokens.client(first) is None
    assert tokens.client(second)


def test_a_file_that_becomes_unreadable_leaves_those_who_were_in(tmp_path, capsys, caplog):
    token = made(tmp_path, capsys)
    tokens = Tokens(tmp_path / "tokens")
    for spoil in (lambda: (tmp_path / "tokens").write_text("secret nonsense"), (tmp_path / "tokens").unlink):
        spoil()
        assert tokens.client(token)
    assert "line 1" in caplog.text
    assert "nonsense" not in caplog.text


@pytest.mark.parametrize("content", ["a read", "a read sha256:00", f"a write sha256:{'0' * 64}", b"\xff"])
def test_a_file_that_is_none_is_said_at_the_start(tmp_path, content):
    path = tmp_path / "tokens"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BadSetting, match="WARDSTREAM_TOKENS"):
        Tokens(path)
    with pytest.raises(BadSetting, match="WARDSTREAM_TOKENS"):
        Tokens(tmp_path / "none")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.0.0.5", "ward.example"])
def test_what_strangers_can_reach_does_not_start_without_tokens_or_a_word(host, tmp_path, capsys):
    with pytest.raises(BadSetting, match=r"WARDSTREAM_PAGE_HOST=.*WARDSTREAM_TOKENS.*WARDSTREAM_AUTH=proxy"):
        tokens_for(load({}), host, "WARDSTREAM_PAGE_HOST")
    assert tokens_for(load({"WARDSTREAM_AUTH": "proxy"}), host, "WARDSTREAM_PAGE_HOST") is None
    assert tokens_for(load({}), host, "WARDSTREAM_HTTP_HOST", guarded=True) is None
    made(tmp_path, capsys)
    assert tokens_for(load({"WARDSTREAM_TOKENS": str(tmp_path / "tokens")}), host, "WARDSTREAM_PAGE_HOST")


def test_by_default_http_is_for_this_machine_alone():
    settings = load({})
    for host in (settings.page_host, settings.http_host, "::1", "localhost", "127.8.0.1"):
        assert is_loopback(host)
        assert tokens_for(settings, host, "WARDSTREAM_PAGE_HOST") is None
