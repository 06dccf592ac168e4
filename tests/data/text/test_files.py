import gzip
import json
from pathlib import Path

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.config import Files
from data.errors import DataError
from data.text.files import Document, TextFiles, open_stream, unescaped


def read(pattern, skipped=None, **options) -> list[Document]:
    files = TextFiles.matching(Files(str(pattern), **options))
    return list(files.documents(skipped if skipped is not None else []))


def write(path: Path, content: bytes) -> Path:
    """Write `content`, compressed as the suffix says."""
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(content))
    elif path.suffix == ".zst":
        with pyarrow.CompressedOutputStream(str(path), "zstd") as stream:
            stream.write(content)
    else:
        path.write_bytes(content)
    return path


def json_lines(*values) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


SUFFIXES = ["", ".gz", ".zst"]


def test_files_are_found_below_a_glob_and_read_as_they_are(tmp_path, monkeypatch):
    (tmp_path / "notes" / "deep").mkdir(parents=True)
    (tmp_path / "notes" / "a.txt").write_bytes("\ufeffé\r\n\t\0".encode())
    (tmp_path / "notes" / "deep" / "b.txt").write_bytes(b"b")
    (tmp_path / "notes" / "c.md").write_bytes(b"c")
    expected = [Document("a.txt", "\ufeffé\r\n\t\0"), Document("deep/b.txt", "b")]
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for pattern in ("~/notes/**/*.txt", str(tmp_path / "notes/**/*.txt"), "notes/**/*.txt"):
        assert read(pattern) == expected


def test_a_glob_that_matches_a_file_twice_reads_it_once(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    write(tmp_path / "a" / "b" / "one.txt", b"text")
    found = TextFiles.matching(Files(f"{tmp_path}/**/**/*.txt"))
    assert len(found.paths) == 1


def test_files_are_ordered_by_their_names(tmp_path):
    for name in ("b", "a", "c"):
        write(tmp_path / name, name.encode())
    assert [document.text for document in read(tmp_path / "*")] == ["a", "b", "c"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_text_is_read_through_its_compression(tmp_path, suffix):
    write(tmp_path / f"a.txt{suffix}", "é\r\n".encode() * 100_000)
    assert read(tmp_path / "*") == [Document(f"a.txt{suffix}", "é\r\n" * 100_000)]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kind", ["jsonl", "ndjson"])
def test_a_line_of_json_is_a_document(tmp_path, kind, suffix):
    lines = json_lines({"text": "one\n", "n": 1}, {"text": ""}) + b"\n" + json_lines({"text": "é"})
    write(tmp_path / f"a.{kind}{suffix}", lines)
    name = f"a.{kind}{suffix}"
    expected = [(f"{name}:1", "one\n"), (f"{name}:2", ""), (f"{name}:4", "é")]
    assert read(tmp_path / "*") == [Document(*fields) for fields in expected]


def test_the_field_of_the_text_can_be_named(tmp_path):
    write(tmp_path / "a.jsonl", json_lines({"body": "one", "text": "two"}))
    assert [document.text for document in read(tmp_path / "*", field="body")] == ["one"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"text": "cut sho', "is not JSON: Unterminated string"),
        (b'"text"', "is not a JSON object"),
        (b'{"body": "x", "id": 1}', r"has no field 'text' \(it has: body, id\); set data.field"),
        (b'{"text": 7}', "has a field 'text' that is not text"),
        (b'{"text": "\\ud800"}', "has half of a surrogate pair"),
        (b'{"text": "\xff"}', "is not JSON: .* can't decode byte 0xff"),
        (b"[" * 100_000, "is not JSON: "),
    ],
)
def test_a_damaged_line_is_named_or_left_out_and_counted(tmp_path, line, message):
    good = json_lines(*[{"text": "good"}] * 3)
    path = write(tmp_path / "a.jsonl", good + line + b"\n" + good)
    with pytest.raises(DataError, match=rf"^{path}:4 {message}.* --data\.on-error=skip"):
        read(path)
    skipped: list[str] = []
    assert len(read(path, skipped, on_error="skip")) == 6
    assert len(skipped) == 1
    assert skipped[0].startswith(f"{path}:4 ")


separated_texts = st.lists(st.text("aé|<> \n", max_size=8), min_size=1, max_size=20)


@given(separated_texts, st.sampled_from(["||", "<|", "\n\n"]), st.integers(1, 5))
def test_documents_are_the_texts_between_separators(tmp_path_factory, texts, separator, chunk):
    whole = separator.join(texts)
    path = tmp_path_factory.mktemp("files") / "a.txt"
    path.write_bytes(whole.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("data.text.files._BUFFER_BYTES", chunk)
        read_documents = read(path, separator=separator)
    assert [document.text for document in read_documents] == whole.split(separator)
    assert [document.name for document in read_documents] == [
        f"a.txt:{i + 1}" for i in range(len(read_documents))
    ]


def test_a_separator_may_be_written_as_in_a_shell(tmp_path):
    assert unescaped(r"\n--\t") == "\n--\t"
    write(tmp_path / "a.txt", b"one\n\ntwo")
    texts = [document.text for document in read(tmp_path / "*", separator=r"\n\n")]
    assert texts == ["one", "two"]


def test_a_glob_without_files_is_refused(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match=r"data\.files='.*/\*' matches no file; write"):
        read(tmp_path / "*")


@pytest.mark.parametrize("separator", [None, "|"])
def test_a_file_that_is_not_text_is_named_with_the_byte(tmp_path, separator, monkeypatch):
    monkeypatch.setattr("data.text.files._BUFFER_BYTES", 3)
    write(tmp_path / "photo.txt", "12é45".encode() + b"\xff67")
    message = r"photo\.txt is not UTF-8 text: .* at byte 6; convert it to UTF-8, or .*on-error=skip"
    with pytest.raises(DataError, match=message):
        read(tmp_path / "*", separator=separator)
    write(tmp_path / "text.txt", b"text")
    skipped: list[str] = []
    assert read(tmp_path / "*", skipped, separator=separator, on_error="skip")[-1].text == "text"
    assert len(skipped) == 1


def test_a_character_cut_at_the_end_of_a_file_is_named(tmp_path):
    write(tmp_path / "a.txt", b"12" + "é".encode()[:1])
    with pytest.raises(DataError, match="at byte 2"):
        read(tmp_path / "*", separator="|")


@pytest.mark.parametrize("suffix", SUFFIXES[1:])
@pytest.mark.parametrize("keep", [5, -5])
def test_a_compressed_file_that_is_cut_short_is_named(tmp_path, suffix, keep):
    path = write(tmp_path / f"a.txt{suffix}", bytes(range(97, 123)) * 1000)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=rf"{path}\b.*narrow data\.files"):
        read(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_vanishes_in_the_middle_is_named(tmp_path, suffix):
    for name in ("a.txt", f"b.txt{suffix}"):
        write(tmp_path / name, b"text")
    documents = TextFiles.matching(Files(f"{tmp_path}/*")).documents([])
    next(documents)
    (tmp_path / f"b.txt{suffix}").unlink()
    with pytest.raises(DataError, match=rf"cannot read .*b\.txt{suffix}: .*No such file"):
        next(documents)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nothing")
    with pytest.raises(DataError, match=r"cannot read .*gone\.txt: No such file"):
        read(tmp_path / "*")
    with pytest.raises(DataError, match=r"cannot read .*gone\.txt: No such file"):
        TextFiles.matching(Files(f"{tmp_path}/*")).listing()


def test_a_listing_tells_size_and_time_of_change(tmp_path):
    path = write(tmp_path / "a.txt", b"text")
    assert TextFiles.matching(Files(str(path))).listing() == [
        (str(path), 4, path.stat().st_mtime_ns)
    ]


def test_a_large_file_is_not_read_at_once(tmp_path):
    path = write(tmp_path / "a.jsonl.gz", json_lines(*[{"text": "x" * 1000}] * 5000))
    with open_stream(path) as stream:
        assert stream.readline() == json_lines({"text": "x" * 1000})
        assert path.stat().st_size > 10_000
        assert stream.tell() < 100_000
