"""Rows on disk: whole lines from many writers, torn ends, the lock, what must not be written or mixed."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer_jax.config import content_key
from transformer_jax.host.folders import FolderError
from transformer_jax.lab import rows

ROOT = Path(__file__).parents[2]


def header(name="h", **changes):
    facts = dict.fromkeys(rows.COMPARED, "same")
    versions = {"jax": "1", "jaxlib": "1"}
    base = {"task.seq_len": 8, "measure.rounds": 5}
    made = {
        "kind": "header",
        "id": name,
        "base": base,
        "versions": versions,
        "code": "c",
        "accept_stale": False,
    }
    return made | facts | changes


def row(key="k", round_=0, head="h", **columns):
    return {"kind": "row", "key": key, "round": round_, "status": "ok", "header": head} | columns


def write(folder, *entries):
    for entry in entries:
        rows.append(folder / rows.FILE, entry)


def test_rows_come_back_filled_with_the_base(tmp_path):
    write(tmp_path, header(), row(tokens=3), row(round_=1, **{"task.seq_len": 16}))
    read = rows.read(tmp_path)
    assert [(r["task.seq_len"], r.get("tokens")) for r in read.rows] == [(8, 3), (16, None)]
    assert read.headers == [header()] and read.notes == []


def test_a_retried_row_replaces_the_first_try(tmp_path):
    write(tmp_path, header(), row(status="failed"), row(round_=1), row(tokens=1))
    assert [(r["round"], r["status"]) for r in rows.read(tmp_path).rows] == [(0, "ok"), (1, "ok")]


WRITER = """if True:
    import sys
    from pathlib import Path
    from transformer_jax.lab import rows
    for number in range(500):
        entry = {"kind": "row", "key": sys.argv[2], "round": number, "text": "x" * (number % 200)}
        rows.append(Path(sys.argv[1]), entry)
"""


def test_eight_writers_lose_duplicate_and_tear_nothing(tmp_path):
    write(tmp_path, header())
    command = [sys.executable, "-c", WRITER, tmp_path / rows.FILE]
    writers = [subprocess.Popen([*command, str(n)], cwd=ROOT) for n in range(8)]
    assert [writer.wait() for writer in writers] == [0] * 8
    lines = (tmp_path / rows.FILE).read_text().splitlines()
    seen = {(r["key"], r["round"]) for r in map(json.loads, lines[1:])}
    assert len(lines) == 1 + 8 * 500
    assert seen == {(str(w), n) for w in range(8) for n in range(500)}


@pytest.mark.parametrize("cut", [1, 30, 60])
def test_a_torn_last_line_is_dropped_with_a_note_and_cut_off_by_the_next_append(tmp_path, cut):
    write(tmp_path, header(), row(), row(round_=1))
    path = tmp_path / rows.FILE
    path.write_bytes(path.read_bytes()[:-cut])
    read = rows.read(tmp_path)
    assert [r["round"] for r in read.rows] == [0]
    assert read.notes == ["rows.jsonl line 3: torn or damaged, dropped; a re-run measures again what it held"]
    write(tmp_path, row(round_=1))
    assert [json.loads(line)["round"] for line in path.read_text().splitlines()[1:]] == [0, 1]


def test_a_damaged_line_in_the_middle_costs_that_line_alone(tmp_path):
    write(tmp_path, header(), row(), row(round_=1))
    path = tmp_path / rows.FILE
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"\x00\xff" + lines[1][2:] + b"[1]\n" + lines[2])
    read = rows.read(tmp_path)
    assert [r["round"] for r in read.rows] == [1] and "line 2 and 1 more" in read.notes[0]


NO_NUMBERS = (
    *('"step_seconds": "fast"', '"step_seconds": NaN', '"task.seq_len": NaN', '"accuracy": "high"'),
    *('"rows": [{"temp_bytes": "many"}]', '"accuracy": -Infinity'),
)


@pytest.mark.parametrize("columns", NO_NUMBERS)
def test_what_is_no_number_in_the_place_of_one_is_dropped_as_damaged(tmp_path, columns):
    write(tmp_path, header(), *(row(round_=r, step_seconds=1.0, accuracy=0.5, implementation="a") for r in range(2)))
    with (tmp_path / rows.FILE).open("a") as file:
        file.write(json.dumps(row(round_=2))[:-1] + f", {columns}}}\n")
    read = rows.read(tmp_path)
    assert [r["round"] for r in read.rows] == [0, 1] and "line 4: torn or damaged, dropped" in read.notes[0]


@given(st.binary(max_size=200))
def test_reading_never_fails_on_content(tmp_path_factory, junk):
    folder = tmp_path_factory.mktemp("junk")
    (folder / rows.FILE).write_bytes(junk)
    assert rows.read(folder).rows == []


def test_a_full_disk_leaves_whole_lines(tmp_path):
    """The limit on a file's size stands in for the disk: the last write is cut short in the same way."""
    code = """if True:
        import resource, sys
        from pathlib import Path
        from transformer_jax.lab import rows
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            for n in range(100):
                rows.append(Path(sys.argv[1]), {"kind": "row", "round": n})
        except OSError as error:
            print(n, error.strerror)
    """
    path = tmp_path / rows.FILE
    ran = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, cwd=ROOT, check=True)
    count = int(ran.stdout.split()[0])
    assert 0 < count < 100
    assert [json.loads(line)["round"] for line in path.read_text().splitlines()] == list(range(count))
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000


def test_nan_is_not_written(tmp_path):
    with pytest.raises(ValueError):
        rows.append(tmp_path / rows.FILE, {"x": float("nan")})
    assert not (tmp_path / rows.FILE).exists()


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(FolderError, match="holds no results"):
        rows.read(tmp_path)
    (tmp_path / "recall").mkdir()
    (tmp_path / "recall" / rows.FILE).touch()
    with pytest.raises(FolderError, match=f"did you mean {tmp_path / 'recall'}?"):
        rows.read(tmp_path)


def test_home_and_secrets_are_not_written(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    monkeypatch.setenv("SHORT_TOKEN", "no")
    write(tmp_path, header(), row(message="no 0123456789abcdef in /home/somebody/x, /home/somebody2 or ~"))
    text = (tmp_path / rows.FILE).read_text()
    assert "no *** in ~/x, /home/somebody2 or ~" in text
    assert "0123456789abcdef" not in text


@pytest.mark.parametrize("what", rows.COMPARED)
def test_rows_of_another_device_threads_or_precision_are_not_compared(tmp_path, what):
    write(tmp_path, header("one"), row(head="one"), header("two", **{what: "other"}), row("k2", 1, "two"))
    with pytest.raises(FolderError, match=rf"differ in {what} \(same and other\) cannot be compared"):
        rows.current(rows.read(tmp_path))


def test_rows_of_other_code_or_jax_are_left_out_with_a_note(tmp_path):
    new_jax = {"jax": "2", "jaxlib": "1"}
    write(
        tmp_path,
        header("code", code="old"),
        row("k1", 0, "code", tokens=1),
        header("jax", versions=new_jax),
        row("k2", 0, "jax", tokens=2),
        header("now"),
        row("k3", 1, "now", tokens=3),
    )
    kept = rows.current(rows.read(tmp_path))
    assert [r["tokens"] for r in kept.rows] == [3]
    assert kept.notes == ["2 rows of other code, data or jax were left out (--accept-stale takes those of other code)"]
    write(tmp_path, header("accepting", accept_stale=True))
    assert [r["tokens"] for r in rows.current(rows.read(tmp_path)).rows] == [1, 3]


def test_one_row_for_a_cell_and_round_though_two_versions_of_the_code_measured_it(tmp_path):
    write(tmp_path, header("a", code="old"), row("k1", 0, "a", tokens=1))
    write(tmp_path, header("b", accept_stale=True), row("k2", 0, "b", tokens=2))
    assert [r["tokens"] for r in rows.current(rows.read(tmp_path)).rows] == [2]


def test_many_damaged_lines_are_one_note_and_a_folder_is_no_file(tmp_path):
    write(tmp_path, header("h"), row(head="h"))
    with (tmp_path / rows.FILE).open("a") as file:
        file.write("not ours\n" * 500)
    (note,) = rows.read(tmp_path).notes
    assert "line 3 and 499 more" in note
    (tmp_path / rows.FILE).unlink()
    (tmp_path / rows.FILE).mkdir()
    with pytest.raises(FolderError, match="is a folder"):
        rows.read(tmp_path)


def test_a_line_of_several_rows_becomes_as_many_numbered_by_part(tmp_path):
    several = row() | {"rows": [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}]}
    write(tmp_path, header(), several, row(round_=1, tokens=3))
    for found in (rows.read(tmp_path), rows.current(rows.read(tmp_path))):
        shown = [(r["round"], r.get("part"), r.get("step"), r["task.seq_len"]) for r in found.rows]
        assert shown == [(0, 0, 1, 8), (0, 1, 2, 8), (1, None, None, 8)] and "rows" not in found.rows[0]
    write(tmp_path, several | {"rows": [{"step": 1, "loss": 9.0}]})  # a later try replaces all of an earlier one
    assert [r.get("loss") for r in rows.current(rows.read(tmp_path)).rows] == [9.0, None]
    write(tmp_path, header("b", code="newer", accept_stale=True), row("k2", 0, "b") | {"rows": [{"loss": 5.0}] * 3})
    assert [r.get("loss") for r in rows.current(rows.read(tmp_path)).rows] == [5.0, 5.0, 5.0, None]


def test_rows_come_by_round_and_config_whoever_was_first(tmp_path):
    places = [(seq_len, round_) for round_ in (0, 1) for seq_len in (8, 16, 128)]
    for n, order in enumerate((places, places[::-1], places[::2] + places[1::2])):
        folder = tmp_path / str(n)
        folder.mkdir()
        write(folder, header(), *(row(f"k{seq_len}", round_, **{"task.seq_len": seq_len}) for seq_len, round_ in order))
        assert [(r["task.seq_len"], r["round"]) for r in rows.current(rows.read(folder)).rows] == places


def studied(name="h", **studies):
    return header(name, base={"task.seq_len": 8, "model.num_heads": 4, "measure.rounds": 5}, studies=studies)


def in_study(folder):
    return [r["studies"] for r in rows.current(rows.read(folder)).rows]


def test_a_row_knows_its_studies_by_its_whole_config(tmp_path):
    """A row of the study of heads is none of the study of lengths, though a length is all that this one sets."""
    heads = [{"task.seq_len": 8, "model.num_heads": n} for n in (1, 4)]
    write(tmp_path, studied(length=[{"task.seq_len": 8}, {"task.seq_len": 16}], heads=heads))
    for n, (seq_len, num_heads) in enumerate([(8, 1), (8, 4), (16, 4), (16, 1)]):
        write(tmp_path, row(str(n), **{"task.seq_len": seq_len, "model.num_heads": num_heads}))
    assert in_study(tmp_path) == [("heads",), (), ("length", "heads"), ("length",)]  # by heads, then by length


def test_a_launch_that_planned_a_part_leaves_the_other_rows_in_their_studies(tmp_path):
    write(tmp_path, studied(length=[{"task.seq_len": n} for n in (8, 16)]), row("a"), row("b", **{"task.seq_len": 16}))
    write(tmp_path, studied("later", short=[{"task.seq_len": 8}]))
    assert in_study(tmp_path) == [("short",), ("length",)]


def test_rows_from_before_studies_had_names_can_be_given_those_of_today(tmp_path):
    old = header(base={"task.seq_len": 8, "model.vocab_size": 256, "measure.rounds": 5})
    write(tmp_path, old, row("a"), row("b", **{"task.seq_len": 16}))
    read = rows.read(tmp_path).rows
    assert [r["studies"] for r in read] == [(), ()]
    known = {"base": {"task.seq_len": 8, "model.causal": True}, "studies": {"length": [{"task.seq_len": 16}]}}
    assert [r["studies"] for r in rows.with_studies(read, [known])] == [(), ("length",)]


DAMAGES = [
    '"tokens": NaN', '"tokens": Infinity', '"tokens": 1e999', '"tokens": [1]', '"tokens": {}', '"round": "0"',
    '"round": true', '"key": 3', '"status": null', '"task.seq_len": "eight"', '"rows": []', '"rows": [1]',
    '"rows": [{"loss": NaN}]', '"rows": 7', '"header": ["h"]', '"deep": ' + "[" * 100_000,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage[:20])
def test_a_row_that_no_run_writes_is_dropped_not_stumbled_over(tmp_path, damage):
    write(tmp_path, header(), row("good"))
    line = '{"kind": "row", "key": "k", "round": 0, "status": "ok", "header": "h", ' + damage + "}\n"
    with (tmp_path / rows.FILE).open("a") as file:
        file.write(line)
    read = rows.read(tmp_path)
    assert [r["key"] for r in rows.current(read).rows] == ["good"] and "line 3: torn or damaged" in read.notes[0]


@pytest.mark.parametrize(
    "damage", [{"base": 3}, {"versions": None}, {"id": []}, {"studies": [1]}, {"studies": {"a": [3]}}, {"data": 1}]
)
def test_a_header_that_no_run_writes_is_dropped(tmp_path, damage):
    write(tmp_path, header(), row(), header("other") | damage)
    assert len(rows.current(rows.read(tmp_path)).rows) == 1


def test_rows_of_other_data_are_left_out_and_cells_that_a_later_plan_does_not_read_are_not(tmp_path):
    """By cell: other data of one set leave the rows of another alone."""
    head = header("a")
    cells = {n: content_key(rows.identity(head["base"] | {"task.seq_len": n}, head)) for n in (1, 2, 3)}

    def measured(name, **digests):
        return header(name, data={cells[int(n[1])]: {"set": digest} for n, digest in digests.items()})

    for entry in (measured("a", n1="x", n2="x"), *(row(f"k{n}", 0, "a", **{"task.seq_len": n}) for n in (1, 2))):
        write(tmp_path, entry)
    write(tmp_path, measured("b", n3="x"))
    assert len(rows.current(rows.read(tmp_path)).rows) == 2
    write(tmp_path, measured("c", n1="y", n2="x"))
    left = rows.current(rows.read(tmp_path))
    assert [r["task.seq_len"] for r in left.rows] == [2] and "1 rows of other code, data or jax" in left.notes[0]
