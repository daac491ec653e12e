"""Series in CSV files: columns found, rows checked, cut in time; what breaks a rule is named with its line."""

import gzip
import json
from datetime import datetime, timedelta
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer_jax.config import ConfigError
from transformer_jax.host.folders import FolderError
from transformer_jax.tasks import originals, own, place, prepare, raw, series_files, sets

HEADER = "when,load,temp"
SPLITS = ("train", "validation", "test")


def row(n: int) -> str:
    """Numbers that float32 cannot hold."""
    return f"{datetime(2024, 2, 28) + n * timedelta(minutes=30)},{10**9 + n}.5,{-n}e-1"


def text(*lines: str, header: str = HEADER, count: int = 20) -> str:
    """A good file, or one of the lines given."""
    return "\n".join([header, *(lines or map(row, range(count)))]) + "\n"


@pytest.fixture
def file(tmp_path):
    """file(text or bytes) -> the path of such a file."""

    def make(content: str | bytes):
        path = tmp_path / "meter.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make


def prepared(path, tmp_path, name="meter", **options):
    """Split -> (times, values (N, C)) as they lie on the disk, after preparing."""
    data = tmp_path / "data"
    assert prepare.prepare_own("series", name, path, data, **options) == data / name / "1.0.0"
    builder = sets.open_set(name, data)
    found = {split: sets.records(builder, split) for split in builder.info.splits}
    return {s: ([r["time"].decode() for r in part], np.stack([r["values"] for r in part])) for s, part in found.items()}


@pytest.mark.parametrize("pack", [str, lambda content: gzip.compress(content.encode())])
def test_a_series_is_cut_in_time(file, tmp_path, pack):
    found = prepared(file(pack(text(count=23) + "\n\n")), tmp_path)
    assert {split: len(times) for split, (times, _) in found.items()} == {"train": 16, "validation": 3, "test": 4}
    times = [time for split in SPLITS for time in found[split][0]]
    assert times == [row(n).partition(",")[0] for n in range(23)]
    values = np.concatenate([found[split][1] for split in SPLITS])
    np.testing.assert_array_equal(values, [(10**9 + n + 0.5, float(f"{-n}e-1")) for n in range(23)])


def test_what_is_recorded(file, tmp_path):
    prepared(file(text()), tmp_path)
    metadata = json.loads((tmp_path / "data/meter/1.0.0/metadata.json").read_text())
    assert (
        metadata["kind"] == "series" and metadata["columns"] == ["load", "temp"] and metadata["time_column"] == "when"
    )
    assert metadata["counts"] == {"train": 14, "validation": 2, "test": 4} and list(metadata["sha256"]) == ["meter.csv"]
    assert place.own("meter", tmp_path / "data") == ("series", "meter.csv")


def test_again_from_the_same_from_another_file_and_with_other_columns(file, tmp_path):
    before = prepared(file(text()), tmp_path)
    after = prepared(file(text()), tmp_path)
    assert before["test"][0] == after["test"][0]
    for content, options in ((text(count=21), {}), (text(), {"columns": "temp"})):
        with pytest.raises(FolderError, match="other sources.*; remove it"):
            prepared(file(content), tmp_path, **options)


def test_columns_that_are_asked_for_in_their_order(file, tmp_path):
    lines = [f"{n},{row(n)},x" for n in range(20)]
    path = file(text(*lines, header=f"number,{HEADER},remark"))
    _, values = prepared(path, tmp_path, columns="temp,number")["train"]
    np.testing.assert_array_equal(values, [(float(f"{-n}e-1"), n) for n in range(14)])
    _, values = prepared(path, tmp_path, name="other", time_column="number", columns="load")["train"]
    assert values.shape == (14, 1)


@pytest.mark.parametrize(
    "times",
    [
        ["2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30"],
        ["2023-11-30", "2024-02-29", "2024-05-31"],
        ["2024-01-15", "2024-02-15", "2024-03-15", "2025-04-15"][:3],
        ["2024-02-29", "2025-02-28", "2026-02-28", "2027-02-28", "2028-02-29"],
        ["2024-02-28T23:00Z", "2024-02-29T00:00Z", "2024-02-29T01:00Z"],
        ["2024-02-28", "2024-02-29", "2024-03-01"],
        ["20240101", "20240102"],
        ["-7", "-2", "3"],
    ],
)
def test_steps_of_time(file, times):
    path = file(text(*(f"{time},1" for time in times), header="t,x"))
    assert [time for time, _ in series_files.rows(path, series_files.Layout("t", ("x",)))] == times


@settings(max_examples=40)
@given(
    values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=9),
    minutes=st.integers(1, 10**5),
    first=st.datetimes(datetime(1950, 1, 1), datetime(2100, 1, 1)),
)
def test_any_numbers_at_any_step_come_back(tmp_path_factory, values, minutes, first):
    path = tmp_path_factory.mktemp("any") / "x.csv"
    times = [str(first + n * timedelta(minutes=minutes)) for n in range(len(values))]
    path.write_text("t,x\n" + "".join(f'"{time}", {value!r}\n' for time, value in zip(times, values, strict=True)))
    assert list(series_files.rows(path, series_files.layout(path))) == [
        (t, [v]) for t, v in zip(times, values, strict=True)
    ]


def changed(place: int, line: str) -> str:
    lines = [*map(row, range(20))]
    lines[place] = line
    return text(*lines)


TIME = row(5).partition(",")[0]
BAD = {
    "empty cell": (changed(5, f"{TIME},,1"), "line 7, column load is empty: each cell must be a finite number"),
    "nan": (changed(5, f"{TIME},1,NaN"), "line 7, column temp has 'NaN': each cell must be a finite number"),
    "infinite": (changed(5, f"{TIME},1e999,1"), "line 7, column load has '1e999': each cell must be a finite number"),
    "text": (changed(5, f"{TIME},off,1"), "line 7, column load has 'off': .* leave it out with --columns"),
    "underscore": (changed(5, f"{TIME},1_0,1"), "line 7, column load has '1_0'"),
    "decimal comma": (changed(5, f'{TIME},"1,5",1'), "line 7, column load has '1,5': .*with a decimal point"),
    "gap": (
        text(*map(row, [0, 1, 2, 4])),
        r"line 5, column when: .* 02:00:00 after .* 01:00:00, where .* 01:30:00 was",
    ),
    "twice": (text(*map(row, [0, 1, 1])), "line 4, column when: .* times must rise by one step"),
    "back": (text(*map(row, [3, 2])), "line 3, column when: .* times must rise by one step"),
    "two forms": (text("2024-01-01,1,2", "7,1,2"), "line 3, column when: 7 after 2024-01-01: .* written in one form"),
    "zones": (text("2024-01-01T00:00,1,2", "2024-01-01T01:00Z,1,2"), "line 3, .* written in one form"),
    "no time": (changed(5, "5 o'clock,1,2"), 'line 7, column when: "5 o\'clock" is no time: ISO 8601'),
    "short row": (changed(5, f"{TIME},1"), "line 7 has 2 cells, and line 1 names 3 columns"),
    "long row": (changed(5, f"{TIME},1,2,3"), "line 7 has 4 cells, and line 1 names 3 columns"),
    "empty line": (changed(5, ""), "line 7 is empty, and line 8 is not"),
    "open quotation": (changed(5, f'{TIME},"1,2'), "line 7 is no line of a CSV file"),
    "constant": (
        text(*(f"{row(n)},4" for n in range(20)), header=HEADER + ",x"),
        "column x is 4 in all of the first 14",
    ),
    "few": (text(count=9), "has 9 rows: to be cut in three a series needs 10"),
    "nothing": ("", "line 1: it must name two columns"),
    "header alone": (HEADER, "line 2: no column begins with a date"),
    "semicolons": (text(header=HEADER.replace(",", ";")), "line 1: it must name two columns .*it has ';'"),
    "no header": (text(header=row(0)), "line 1 has no names of columns"),
    "equal names": (text(header="when,load,load"), "line 1: each column needs a name .*, and 2 are called 'load'"),
    "no name": (text(header="when,,load"), "line 1: each column needs a name of its own, and column 2 has no name"),
    "dates of another form": (text("01/31/2024,2,3"), "line 2: '01/31/2024' looks like a date, but times .* ISO 8601"),
    "German dates": (text("31.1.24 18:00,2,3"), "line 2: '31.1.24 18:00' looks like a date"),
    "no dates": (text("1,2,3"), "line 2: no column begins with a date .* --time-column, one of when, load, temp"),
    "two dates": (
        text("2024-01-01,2024-01-01,3"),
        "line 2: the first cells of when and load are dates .*--time-column",
    ),
    "utf-16": (text().encode("utf-16"), "line 1: byte 1 of the line .* is not UTF-8"),
    "latin-1": (text(header="when,lóad,temp").encode("latin-1"), "line 1: byte 7 of the line .* is not UTF-8"),
}


@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=BAD)
def test_what_breaks_a_rule_is_one_line_with_its_place_and_nothing_is_written(file, tmp_path, content, message):
    with pytest.raises(raw.BadSource, match=rf"meter\.csv.*{message}") as error:
        prepared(file(content), tmp_path)
    assert "\n" not in str(error.value) and not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"time_column": "wen"}, "line 1: no column 'wen'; did you mean when"),
        ({"columns": "load,tmp"}, "line 1: no column 'tmp'; did you mean temp.; it has when, load, temp"),
        ({"columns": "load,load"}, "--columns load,load names one twice, or that of the times"),
        ({"columns": "when"}, "--columns when names one twice, or that of the times, when"),
        ({"time_column": "load"}, "line 2, column load: '1000000000.5' is no time"),
    ],
)
def test_columns_that_are_not_there(file, tmp_path, options, message):
    with pytest.raises(raw.BadSource, match=message):
        prepared(file(text()), tmp_path, **options)


def test_a_file_that_is_not_there(tmp_path):
    for path, what in (
        (tmp_path / "x.csv", r"lacks x\.csv; it holds nothing"),
        (tmp_path, "is a folder: --from takes the file"),
    ):
        with pytest.raises(FileNotFoundError, match=what):
            prepared(path, tmp_path)


def test_options_of_another_kind():
    with pytest.raises(
        ConfigError, match="prepare series has no use for --source: a series, a CSV file .* --name meter"
    ):
        own.check("series", {"source": "a", "time_column": None, "name": "x"})
    own.check("series", {"source": None, "time_column": "when", "columns": "a,b", "name": "x"})


def ett(count: int = 9) -> str:
    lines = [
        f"{datetime(2016, 7, 1) + timedelta(hours=n)}," + ",".join(f"{n}.{c}" for c in range(7)) for n in range(count)
    ]
    return "\n".join([",".join((series_files.ETT.time, *series_files.ETT.columns)), *lines]) + "\n"


def test_the_parts_of_etth1_follow_each_other_and_the_rest_is_not_used(tmp_path, monkeypatch):
    (tmp_path / "ETTh1.csv").write_text(ett(9))
    monkeypatch.setattr(series_files, "ETT_COUNTS", {"train": 4, "validation": 2, "test": 1})
    found = {split: [int(r["values"][0]) for _, r in part] for split, part in series_files.ett_h1(tmp_path).items()}
    assert found == {"train": [0, 1, 2, 3], "validation": [4, 5], "test": [6]}


def test_etth1_is_the_published_one(tmp_path):
    (tmp_path / "ETTh1.csv").write_text(ett())
    with pytest.raises(raw.BadSource, match="ETTh1.csv is not the published one: it has .* bytes, not 2589657"):
        prepare.prepare("ett_h1", tmp_path, tmp_path / "data")
    with pytest.raises(FileNotFoundError, match=r"ETTh1\.csv; .*\n  published at https://github.com/zhouhaoyi"):
        prepare.prepare("ett_h1", tmp_path / "data", tmp_path / "data")


@pytest.mark.slow
def test_the_real_etth1(real, tmp_path):
    folder = real("ett_h1")
    prepare.prepare("ett_h1", folder, tmp_path)
    builder = sets.open_set("ett_h1", tmp_path)
    found = [record for split in SPLITS for record in sets.records(builder, split)]
    assert {s: builder.info.splits[s].num_examples for s in SPLITS} == originals.ORIGINALS["ett_h1"].counts
    lines = (folder / "ETTh1.csv").read_text().split("\n")[1:]
    for record, line in islice(zip(found, lines, strict=False), 0, None, 97):
        time, *numbers = line.strip().split(",")
        assert record["time"].decode() == time and record["values"].tolist() == [float(number) for number in numbers]
