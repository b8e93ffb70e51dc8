"""`demur phantom`: one JSON object on stdout, people's output on stderr."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from demur.cli.phantom import app
from demur.errors import IncompleteError, InputError, ModelError
from demur.phantom import path


def run(*arguments):
    return CliRunner().invoke(app, list(arguments))


def test_card_json_is_the_contract():
    result = run("card", "--json")
    found = json.loads(result.stdout)
    keys = {"name", "group", "n_train", "planted", "measured", "low", "high", "method"}
    assert all(set(condition) == keys for condition in found["conditions"])
    assert {"edition", "seed", "versions", "specification"} <= set(found)


def test_card_for_people_goes_to_stderr_and_can_be_narrowed():
    result = run("card", "--group", "judgement")
    assert result.stdout == ""
    assert "judgement" in result.stderr
    assert isinstance(run("card", "--group", "none").exception, InputError)


def test_card_is_drawn_as_svg(tmp_path):
    figure = tmp_path / "card.svg"
    assert run("card", "--figure", str(figure)).exit_code == 0
    assert "<svg" in figure.read_text(encoding="utf-8")


def test_info_and_path_name_the_checkpoint():
    assert json.loads(run("info", "--json").stdout)["path"] == str(path())
    assert run("path").stdout.strip() == str(path())
    assert json.loads(run("path", "--json").stdout) == {"path": str(path())}
    assert "megabytes" in run("info").stderr


def test_an_unknown_edition_is_a_model_error():
    assert isinstance(run("path", "none").exception, ModelError)


@pytest.mark.parametrize(("name", "message"), [("card.doc", "svg"), ("file/card.svg", "cannot write")])
def test_a_figure_that_cannot_be_drawn_is_an_input_error(tmp_path, name, message):
    (tmp_path / "file").touch()
    result = run("card", "--figure", str(tmp_path / name))
    assert isinstance(result.exception, InputError)
    assert message in str(result.exception)


def test_an_interrupt_while_measuring_keeps_the_training(tmp_path, monkeypatch):
    from demur.phantom import card, training

    def interrupt(_out, **_):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "train", lambda out, **_: out)
    monkeypatch.setattr(card, "write", interrupt)
    result = run("train", "--out", str(tmp_path))
    assert isinstance(result.exception, IncompleteError)
    assert "--resume" in str(result.exception)
