"""CSV and Parquet, read back by pandas, pyarrow and polars."""

import json

import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest
from known_people import INFO, SUMMARY, header, poses, results

from tfpose_rt.errors import InputError, UsageError
from tfpose_rt.io.parquet import parquet_sink, read_parquet
from tfpose_rt.io.parts import Resume, SinkOptions
from tfpose_rt.io.table_rows import read_csv
from tfpose_rt.io.tables import ERRORS, LONG, SWAPPED, WIDE, CsvSink
from tfpose_rt.records import Result
from tfpose_rt.skeleton import NAMES
from tfpose_rt.tools.reading import open_poses


def write(sink, items=None):
    for result in items if items is not None else results():
        sink.write(result)
    sink.close(SUMMARY)
    return sink


def test_the_columns_are_those_of_the_format():
    assert ",".join(WIDE[:11]) == "frame,pts_s,id,det_score,x0,y0,x1,y1,nose_x,nose_y,nose_score"
    assert WIDE[-1] == "right_ankle_score"
    assert len(WIDE) == 8 + 51
    assert ",".join(LONG) == "frame,pts_s,id,keypoint,x,y,score"


def test_wide_csv_has_exactly_this_text(tmp_path):
    path = tmp_path / "clip.csv"
    write(CsvSink(path, header()), list(results())[:2])
    lines = path.read_bytes().decode("utf-8").split("\n")
    assert lines[0] == ",".join(WIDE)
    assert lines[1] == "0,0.000000" + "," * (len(WIDE) - 2)
    assert lines[2].startswith(
        "1,0.033333,1,0.8000,91.00,190.00,127.00,226.00,101.25,200.50,0.5000,102.25,201.50,0.5100,"
    )
    assert lines[2].endswith(",117.25,216.50,0.6600")
    assert lines[3] == ""


def test_pandas_reads_wide_csv_with_every_frame(tmp_path):
    path = tmp_path / "clip.csv"
    sink = write(CsvSink(path, header()))
    table = pd.read_csv(path)
    assert sorted(table.frame.unique()) == [0, 1, 2, 3, 4, 6]
    assert sink.written == 6
    assert len(table) == 7  # two people in frame 2
    assert table[table.frame == 0].id.isna().all()
    row = table[(table.frame == 2) & (table.id == 2)].iloc[0]
    assert (row.left_ankle_x, row.left_ankle_y) == (217.25, 215.5)
    np.testing.assert_allclose(table.pts_s.unique(), np.array([0, 1, 2, 3, 4, 6]) / 30, atol=1e-6)
    about = json.loads((tmp_path / "clip.meta.json").read_text())
    assert about["header"]["size"] == [640, 480]
    assert about["summary"] == SUMMARY


def test_long_csv_has_a_row_for_each_joint(tmp_path):
    path = tmp_path / "clip.csv"
    write(CsvSink(path, header(), SinkOptions(csv_layout="long")))
    table = pd.read_csv(path)
    assert tuple(table.columns) == LONG
    assert len(table) == 2 + 5 * 17  # two empty frames, five people
    assert list(table[(table.frame == 2) & (table.id == 1)].keypoint) == list(NAMES)
    wrist = table[(table.frame == 3) & (table.keypoint == "right_wrist")].iloc[0]
    assert (wrist.x, wrist.y, wrist.score) == (213.25, 210.5, 0.6)


def test_absent_values_are_empty_or_nan_as_asked(tmp_path):
    write(CsvSink(tmp_path / "a.csv", header(), SinkOptions(fill="nan")), list(results())[:1])
    assert (tmp_path / "a.csv").read_text().split("\n")[1].split(",")[3:5] == ["nan", "nan"]


def test_shares_of_the_picture(tmp_path):
    write(CsvSink(tmp_path / "a.csv", header(), SinkOptions(normalised=True)))
    table = pd.read_csv(tmp_path / "a.csv")
    row = table[table.frame == 3].iloc[0]
    assert row.nose_x == pytest.approx((203.25 + 0.5) / 640, abs=1e-6)
    assert row.y0 == pytest.approx((190 + 0.5) / 480, abs=1e-6)


def test_smoothed_points_cannot_be_had_where_none_were_made(tmp_path):
    sink = CsvSink(tmp_path / "a.csv", header(), SinkOptions(field="smooth"))
    with pytest.raises(UsageError, match="smooth"):
        write(sink)
    sink.abort()


def same(one, two):
    assert (one.frame, one.pts) == (two.frame, two.pts)
    for name in ("xy", "scores", "boxes", "box_scores", "ids"):
        a, b = getattr(one.poses, name), getattr(two.poses, name)
        if len(one.poses):
            assert (a is None) == (b is None)
            if a is not None:
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("make", "read", "suffix"), [(CsvSink, read_csv, "csv"), (parquet_sink, read_parquet, "parquet")]
)
@pytest.mark.parametrize("options", [{}, {"scores": False}, {"track": False}])
def test_tables_give_back_every_frame_and_number(tmp_path, make, read, suffix, options):
    path = tmp_path / f"clip.{suffix}"
    write(make(path, header()), results(**options))
    about, back, summary = read(path)
    assert summary == SUMMARY
    assert about["source"]["name"] == INFO.name
    frames = [r for r in results(**options) if r.poses is not None]
    back = list(back)
    assert len(back) == len(frames)
    for one, two in zip(frames, back, strict=True):
        same(one, two)


def test_pyarrow_and_polars_read_the_parquet_types(tmp_path):
    path = tmp_path / "clip.parquet"
    write(parquet_sink(path, header()))
    table = pq.read_table(path)
    assert tuple(table.column_names) == WIDE
    assert [str(table.schema.field(n).type) for n in ("frame", "id", "pts_s", "nose_x", "det_score")] == [
        "int64", "int32", "double", "float", "float"]  # fmt: skip
    assert table["id"].null_count == 2
    assert table["nose_x"].null_count == 2
    assert json.loads(pq.read_metadata(path).metadata[b"tfpose-rt"])["header"]["schema"] == "tfpose-rt/1"
    frame = pl.read_parquet(path)
    assert frame.filter((pl.col("frame") == 2) & (pl.col("id") == 2))["left_ankle_x"].item() == 217.25
    assert not (tmp_path / "clip.parquet.part").exists()


def test_a_table_cut_in_the_middle_of_a_row_reads_up_to_it(tmp_path):
    path = tmp_path / "clip.csv"
    sink = CsvSink(path, header())
    for result in results():
        sink.write(result)
    sink.abort()
    part = tmp_path / "clip.csv.part"
    part.write_bytes(part.read_bytes()[:-3])
    _, back, summary = read_csv(part)
    assert summary is None
    assert [r.frame for r in back] == [0, 1, 2, 3]  # frame 4 is whole, but a person of it might be missing
    assert CsvSink.last_frame(path) == 3
    sink = CsvSink(path, header(), SinkOptions(resume=Resume(3, 4, 0.0)))
    assert sink.written == 4
    write(sink, [r for r in results() if r.frame > 3])
    whole = tmp_path / "whole.csv"
    write(CsvSink(whole, header()))
    assert path.read_text() == whole.read_text()


def test_another_table_is_refused(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError):
        list(read_csv(tmp_path / "x.csv")[1])


def test_a_finished_table_without_its_last_line_end_is_whole(tmp_path):
    path = tmp_path / "clip.csv"
    write(CsvSink(path, header()))
    path.write_bytes(path.read_bytes().removesuffix(b"\n"))  # as some editors leave it
    back = list(read_csv(path)[1])
    assert [r.frame for r in back] == [0, 1, 2, 3, 4, 6]
    assert len(back[-1].poses) == 1


@pytest.mark.parametrize(("old", "new", "text"), [
    (b",101.25,", b",abc,", "frame 1: .*abc"),
    (b"1,0.033333,1,", b"1,0.033333,one,", "frame 1: .*one"),
    (b"3,0.100000", b"three,0.100000", "'three'"),
    (b",101.25,", b",", "line 3 has more or fewer cells"),
    (b",101.25,", b",101.25,7,", "line 3 has more or fewer cells"),
    (b",101.25,", b",101\xb725,", "not UTF-8"),
])  # fmt: skip
def test_a_damaged_table_is_an_input_error_that_tells_where(tmp_path, old, new, text):
    path = tmp_path / "clip.csv"
    write(CsvSink(path, header()))
    whole = path.read_bytes()
    assert whole.count(old) >= 1
    path.write_bytes(whole.replace(old, new, 1))
    with pytest.raises(InputError, match=text):
        list(read_csv(path)[1])


@pytest.mark.parametrize("meta", ["[1]", '{"header": {}}', '{"header": {"size": 7}}', '{"header": 3}'])
def test_a_damaged_header_of_a_table_is_an_input_error(tmp_path, meta):
    write(CsvSink(tmp_path / "clip.csv", header()))
    (tmp_path / "clip.meta.json").write_text(meta)
    with pytest.raises(InputError, match="header"):
        open_poses(tmp_path / "clip.csv")


def test_full_precision_keeps_every_digit(tmp_path):
    odd = poses([1])
    xy = odd.xy + np.float32(1 / 3)
    one = Result(poses=type(odd)(xy=xy, scores=odd.scores, boxes=odd.boxes, box_scores=odd.box_scores, ids=odd.ids))
    write(CsvSink(tmp_path / "a.csv", header(), SinkOptions(full_precision=True)), [one])
    assert np.float32(pd.read_csv(tmp_path / "a.csv").nose_x[0]) == xy[0, 0, 0]


def test_errors_stand_behind_all_other_columns(tmp_path):
    """Joint k of person i has the error i + k / 4: the right wrist (10) of person 2 has 4.5 px."""
    path = tmp_path / "clip.csv"
    write(CsvSink(path, header(error_kind="calibrated")), results(errors=True))
    table = pd.read_csv(path)
    assert tuple(table.columns) == (*WIDE, *ERRORS)
    assert table[(table.frame == 2) & (table.id == 2)].iloc[0].right_wrist_error == 4.5
    assert table[table.frame == 0][list(ERRORS)].isna().all(axis=None)
    again = [r.poses for r in read_csv(path)[1] if len(r.poses)]
    for read, made in zip(again, (r.poses for r in results(errors=True) if r.poses), strict=True):
        np.testing.assert_array_equal(read.errors, made.errors)


def test_long_tables_have_an_error_a_row(tmp_path):
    path = tmp_path / "clip.csv"
    write(CsvSink(path, header(error_kind="raw"), SinkOptions(csv_layout="long")), results(errors=True))
    table = pd.read_csv(path)
    assert tuple(table.columns) == (*LONG, "error")
    wrist = table[(table.frame == 3) & (table.keypoint == "right_wrist")].iloc[0]
    assert (wrist.score, wrist.error) == (0.6, 4.5)
    assert len(table) == 2 + 5 * 17


def test_parquet_holds_errors_and_gives_them_back(tmp_path):
    path = tmp_path / "clip.parquet"
    write(parquet_sink(path, header(error_kind="calibrated")), results(errors=True))
    table = pl.read_parquet(path)
    assert tuple(table.columns) == (*WIDE, *ERRORS)
    assert table.filter((pl.col("frame") == 2) & (pl.col("id") == 2))["right_wrist_error"].item() == 4.5
    people = [r.poses for r in read_parquet(path)[1] if len(r.poses)]
    np.testing.assert_array_equal(people[0].errors[0], 1 + np.arange(17) / 4)


def test_swapped_limbs_are_the_last_columns_and_come_back(tmp_path):
    """The legs of person 2, of frames 2, 3 and 6, are swapped."""
    path = tmp_path / "clip.csv"
    write(CsvSink(path, header(error_kind="calibrated", sides="tracked")), results(errors=True, swapped=True))
    table = pd.read_csv(path)
    assert tuple(table.columns) == (*WIDE, *ERRORS, *SWAPPED)
    assert SWAPPED == ("arms_swapped", "legs_swapped")
    assert path.read_text().split("\n")[2].endswith(",0,0")
    assert table[table.legs_swapped == 1].frame.tolist() == [2, 3, 6]
    assert not table.arms_swapped.any()
    made = [r.poses for r in results(swapped=True) if r.poses]
    marks = [p.swapped.tolist() for p in made]
    assert [r.poses.swapped.tolist() for r in read_csv(path)[1] if len(r.poses)] == marks
    parquet = tmp_path / "clip.parquet"
    write(parquet_sink(parquet, header(sides="tracked")), results(swapped=True))
    assert pl.read_parquet(parquet).filter(pl.col("legs_swapped"))["frame"].to_list() == [2, 3, 6]
    assert [r.poses.swapped.tolist() for r in read_parquet(parquet)[1] if len(r.poses)] == marks


def test_long_tables_mark_the_joints_of_swapped_limbs(tmp_path):
    path = tmp_path / "clip.csv"
    options = SinkOptions(csv_layout="long")
    write(CsvSink(path, header(sides="tracked"), options), results(swapped=True))
    table = pd.read_csv(path)
    assert tuple(table.columns) == (*LONG, "swapped")
    marked = table[table.swapped == 1]
    assert set(marked.keypoint) == {
        f"{side}_{joint}" for side in ("left", "right") for joint in ("hip", "knee", "ankle")
    }
    assert marked.id.eq(2).all()
    assert len(marked) == 3 * 6


def test_shares_of_the_picture_come_without_errors(tmp_path):
    """A distance in px has no one unit where x and y are counted in different ones."""
    path = tmp_path / "clip.csv"
    write(CsvSink(path, header(error_kind="calibrated"), SinkOptions(normalised=True)), results(errors=True))
    assert tuple(pd.read_csv(path).columns) == WIDE


def test_a_csv_begun_without_errors_goes_on_without(tmp_path):
    path = tmp_path / "clip.csv"
    first = CsvSink(path, header())
    for result in list(results())[:3]:
        first.write(result)
    first.abort()
    again = CsvSink(path, header(error_kind="calibrated"), SinkOptions(resume=Resume(last=1, frames=2, first_pts=0.0)))
    write(again, list(results(errors=True))[2:])
    table = pd.read_csv(path)
    assert tuple(table.columns) == WIDE
    assert sorted(table.frame.unique()) == [0, 1, 2, 3, 4, 6]
