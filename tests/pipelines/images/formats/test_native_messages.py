"""What native code prints: in the log, not on the terminal, and never lost."""

from __future__ import annotations

import logging
import os
import tempfile
import threading

import pytest
import SimpleITK

from pipelines.images.formats.native_messages import native_messages_logged
from pipelines.images.reading import read_image


def logged(caplog):
    return [record.getMessage() for record in caplog.records]


def test_what_native_code_prints_is_in_the_log(capfd, caplog):
    caplog.set_level(logging.DEBUG, "pipelines")
    with native_messages_logged():
        os.write(2, b"two\nlines")
    os.write(2, b"after\n")
    assert capfd.readouterr() == ("", "after\n")
    assert logged(caplog) == ["native code printed: two", "native code printed: lines"]
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}


def test_a_reader_s_words_about_a_damaged_image_are_in_the_log(tmp_path, capfd, caplog):
    caplog.set_level(logging.DEBUG, "pipelines")
    path = tmp_path / "image.mha"
    header = "NDims = 2\nDimSize = 2 2\nElementType = MET_UCHAR\nBinaryData = False\n"
    path.write_text(f"{header}ElementDataFile = LOCAL\nno numbers")
    with pytest.raises(ValueError, match="is truncated or damaged"):
        read_image(path)
    assert capfd.readouterr() == ("", "")
    assert any("M_ReadElementsData" in line for line in logged(caplog))


def test_a_warning_of_itk_reaches_the_user_once(tmp_path, monkeypatch, caplog):
    path = tmp_path / "image.nrrd"
    path.write_text("NRRD0004\ntype: uchar\ndimension: 2\nsizes: 2 2\nencoding: raw\n\n1234")
    real = SimpleITK.ImageFileReader.Execute

    def warn(reader):
        text = f"WARNING: In /build/itkNrrdImageIO.cxx, line 20\nNrrdImageIO (0x55ab): {path} is odd\n\n"
        os.write(2, 2 * text.encode())
        return real(reader)

    monkeypatch.setattr(SimpleITK.ImageFileReader, "Execute", warn)
    read_image(path)
    assert logged(caplog) == [f"{path}: is odd"]


def test_an_error_passes_through(capfd, caplog):
    caplog.set_level(logging.DEBUG, "pipelines")

    def fail():
        with native_messages_logged():
            os.write(2, b"before the error\n")
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail()
    os.write(2, b"after\n")
    assert capfd.readouterr() == ("", "after\n")
    assert logged(caplog) == ["native code printed: before the error"]


def test_blocks_may_lie_in_each_other(capfd, caplog):
    caplog.set_level(logging.DEBUG, "pipelines")
    with native_messages_logged():
        with native_messages_logged():
            os.write(2, b"inner\n")
        os.write(2, b"outer\n")
    os.write(2, b"after\n")
    assert capfd.readouterr() == ("", "after\n")
    assert logged(caplog) == ["native code printed: inner", "native code printed: outer"]


def test_threads_take_turns(capfd, caplog):
    caplog.set_level(logging.DEBUG, "pipelines")

    def write(number):
        for _ in range(20):
            with native_messages_logged():
                os.write(2, f"thread {number}\n".encode())

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.write(2, b"after\n")
    assert capfd.readouterr() == ("", "after\n")
    counts = {number: logged(caplog).count(f"native code printed: thread {number}") for number in range(4)}
    assert counts == dict.fromkeys(range(4), 20)


def test_without_room_for_a_temporary_file_images_can_be_read(capfd, monkeypatch):
    def fail():
        raise OSError("No usable temporary directory")

    monkeypatch.setattr(tempfile, "TemporaryFile", fail)
    with native_messages_logged():
        os.write(2, b"dropped\n")
    os.write(2, b"after\n")
    assert capfd.readouterr() == ("", "after\n")
