"""Where libraries have their variables, of this process and of files that are none."""

import ctypes
from pathlib import Path

import pytest

from podflare_nb.provisioning import library_data

libc = ctypes.CDLL(None)


def segments_of(address):
    """Those of the library that has this address."""
    maps = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    ranges = [([int(each, 16) for each in line[0].split("-")], line[-1]) for line in maps]
    name = next(name for (start, end), name in ranges if start <= address < end)
    return library_data.segments(Path(name), min(start for (start, _), each in ranges if each == name))


def lies_in(address, segments):
    return any(start <= address < end for start, end in segments)


def test_a_variable_lies_in_its_librarys_segment_and_a_function_does_not():
    function = ctypes.cast(libc.malloc, ctypes.c_void_p).value
    segments = segments_of(function)
    assert lies_in(ctypes.addressof(ctypes.c_void_p.in_dll(libc, "stdout")), segments)
    assert not lies_in(function, segments)


def test_so_does_one_that_is_zero_at_first_and_in_no_file():
    segments = segments_of(ctypes.cast(libc.malloc, ctypes.c_void_p).value)
    assert lies_in(ctypes.addressof(ctypes.c_void_p.in_dll(libc, "optarg")), segments)


@pytest.mark.parametrize(
    "content", [b"", b"no library", b"\x7fELF", b"\x7fELF\x01" + bytes(100), b"\x7fELF\x02" + bytes(100)]
)
def test_a_file_that_is_no_64_bit_library_has_none(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    assert library_data.segments(tmp_path / "file", 0) == []


def test_a_file_that_is_gone_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        library_data.segments(tmp_path / "file", 0)
