import pytest

from data.errors import DataError
from models.config import ConfigError
from zoo.scaling_laws.points import read_points


def test_columns_are_found_by_name(tmp_path):
    file = tmp_path / "runs.csv"
    file.write_text("\ufeffname,loss, tokens ,params\na,3.5,2e9,1e8\nb,3.0,4e9,2e8\n")
    points = read_points(str(file))
    assert points.params.tolist() == [1e8, 2e8]
    assert points.tokens.tolist() == [2e9, 4e9]
    assert points.loss.tolist() == [3.5, 3.0]
    assert points.rows.tolist() == [1, 2]
    assert points.flops.tolist() == [1.2e18, 4.8e18]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (
            "params,loss\n1,2\n",
            ConfigError,
            "no column tokens: its first line is 'params,loss'",
        ),
        ("", ConfigError, "no column params and no column tokens and no column loss"),
        ("params,tokens,loss\n1,2,three\n", DataError, "run 1: loss='three' must be a number"),
        ("params,tokens,loss\n1,2,3\n1,2\n", DataError, "run 2: loss=None must be a number"),
        ("params,tokens,loss\n-1,2,3\n", DataError, "run 1: params='-1' must be a number above"),
        ("params,tokens,loss\n1,nan,3\n", DataError, "run 1: tokens='nan' must be a number above"),
    ],
)
def test_a_bad_file_is_one_message(tmp_path, text, error, message):
    file = tmp_path / "runs.csv"
    file.write_text(text)
    with pytest.raises(error, match=message):
        read_points(str(file))


def test_bytes_that_are_no_text_are_one_message(tmp_path):
    file = tmp_path / "runs.csv"
    file.write_bytes(b"params,tokens,loss\n\xff\xfe,2,3\n")
    with pytest.raises(DataError, match="is not a CSV file"):
        read_points(str(file))
