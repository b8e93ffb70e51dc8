import pytest

from demur.atomic import replacing, write_text


def test_the_old_file_stays_when_writing_fails(tmp_path):
    path = tmp_path / "page.html"
    write_text(path, "old")

    def fail_half_way():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        fail_half_way()
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["page.html"]


def test_the_file_can_be_read_by_others(tmp_path):
    write_text(tmp_path / "page.html", "text")
    plain = tmp_path / "plain"
    plain.write_text("text")
    assert (tmp_path / "page.html").stat().st_mode == plain.stat().st_mode
