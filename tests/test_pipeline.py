import dataclasses
import threading
import time

import numpy as np
import pytest
from fakes import BlockEstimator, ListSource, picture

from tfpose_rt.chunks import CHUNK
from tfpose_rt.config import RunConfig, SourceOptions
from tfpose_rt.draw import DrawStyle, draw
from tfpose_rt.errors import InputError
from tfpose_rt.io.pairs import PairSource
from tfpose_rt.pipeline import Stream
from tfpose_rt.records import Detections, Event, Gap, Segment
from tfpose_rt.stats import require_frames, summary

WALK = [picture([(10 + 3 * i, 50)]) for i in range(23)]


class Part(ListSource):
    """Its items are the frames that --stride and --frames leave of a file, with their numbers and times there."""

    def __init__(self, items, options):
        super().__init__(items)
        self.options = options

    def __iter__(self):
        for frame in super().__iter__():
            index = (self.options.frames or (0, 0))[0] + frame.index * self.options.stride
            if index >= self.options.skip_to:
                yield dataclasses.replace(frame, index=index, pts=index / 30, seq=index)


def run(items, **settings):
    live = settings.pop("live", False)
    estimator = BlockEstimator(RunConfig(**settings))
    with Stream(ListSource(items, live=live, interval=0.002 if live else 0), estimator) as stream:
        return list(stream), estimator, stream


def test_every_frame_of_a_file_in_order_with_its_person():
    results, estimator, stream = run(WALK)
    assert [r.frame for r in results] == list(range(23))
    for r in results:
        np.testing.assert_allclose(r.poses.xy[0, 0], [10 + 3 * r.frame, 50])
        assert r.poses.ids.tolist() == [0]
        assert (r.poses.frame, r.poses.pts) == (r.frame, pytest.approx(r.frame / 30))
    assert estimator.calls == [CHUNK] * 5 + [3]
    record = summary(stream)
    assert (record["frames"], record["persons"], record["ids"], record["ended"], record["exit_code"]) == (
        23,
        23,
        1,
        "eof",
        0,
    )
    assert record["complete"] is True


@pytest.mark.parametrize(("kind", "steady"), [("file", True), ("images", False)])
def test_the_pictures_of_a_video_are_all_of_one_size_and_worth_being_compiled_for(kind, steady):
    class Watched(BlockEstimator):
        def detect(self, images, *, steady=False):
            told.append(steady)
            return super().detect(images)

        def poses(self, images, people, box_from=None, *, steady=False):
            assert steady == told[-1]
            return super().poses(images, people, box_from)

    told: list[bool] = []
    source = ListSource([*WALK[: 2 * CHUNK], WALK[0][:, :60]])
    source.info = dataclasses.replace(source.info, kind=kind)
    with Stream(source, Watched()) as stream:
        assert len(list(stream)) == 2 * CHUNK + 1
    assert told == [steady, steady, False]  # a camera has come back with another size: who knows which comes next


def test_nobody_one_and_many_are_all_ordinary():
    many = [(5 + 50 * c, 5 + 45 * r) for r in range(5) for c in range(6)]
    results, _, _ = run([picture([]), picture([(10, 10)]), picture(many), picture([])], max_people=30)
    assert [len(r.poses) for r in results] == [0, 1, 30, 0]
    assert results[0].poses.xy.shape == (0, 17, 2)
    assert len(set(results[2].poses.ids.tolist())) == 30


def test_gaps_and_segments_keep_their_place():
    gap, segment = Gap(reason="decode_error", t_start=0.0, t_end=0.1, seq_from=2, seq_to=2), Segment(size=(320, 240))
    results, _, stream = run([WALK[0], WALK[1], gap, WALK[2], segment, WALK[3]])
    kinds = ["gap" if r.gap else "segment" if r.segment else r.frame for r in results]
    assert kinds == [0, 1, "gap", 2, "segment", 3]
    assert stream.stats.gaps == 1


def test_the_detector_rests_and_the_boxes_follow_the_keypoints():
    results, estimator, _ = run(WALK, det_every=5)
    assert sum(estimator.calls) == 5  # frames 0, 5, 10, 15, 20
    assert [r.poses.box_from[0] for r in results[:6]] == ["detector"] + ["tracker"] * 4 + ["detector"]
    assert {r.poses.ids[0] for r in results} == {0}
    for r in results:
        assert abs(r.poses.xy[0, 0, 0] - (10 + 3 * r.frame)) < 6


@pytest.mark.parametrize("stride", [1, 4, 5])
@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("every", [4, 5])
def test_the_detector_looks_at_every_nth_frame_that_is_read_wherever_reading_begins(stride, first, every):
    options = SourceOptions(frames=(first, first + 20 * stride), stride=stride)
    estimator = BlockEstimator(RunConfig(det_every=every, source=options))
    items = [picture([(10 + i, 50)]) for i in range(20)]
    with Stream(Part(items, options), estimator) as stream:
        results = list(stream)
    assert [r.frame for r in results] == list(range(first, first + 20 * stride, stride))
    looked = [i for i, r in enumerate(results) if r.poses.box_from[0] == "detector"]
    assert looked[0] == 0  # there is nobody to follow yet
    assert 0 < looked[1] <= every
    assert set(np.diff(looked[1:])) == {every}


@pytest.mark.parametrize("live", [True, False])
def test_the_stride_of_a_file_is_not_that_of_frames_that_are_counted_here(live):
    estimator = BlockEstimator(RunConfig(det_every=4, source=SourceOptions(stride=3, drop=False)))
    pairs = PairSource((image, i / 30) for i, image in enumerate(WALK[:12]))
    with Stream(ListSource(WALK[:12], live=True) if live else pairs, estimator) as stream:
        looked = [r.frame for r in stream if r.poses.box_from[0] == "detector"]
    assert looked == [0, 4, 8]


class Noting(BlockEstimator):
    """Notes the numbers of the pictures that its detector sees; the joints of some have scores of their own."""

    def __init__(self, run, scores):
        super().__init__(run)
        self.looked, self.scores = [], scores

    def detect(self, images, *, steady=False):
        self.looked += [int(image[0, 0, 0]) for image in images]
        return super().detect(images)

    def poses(self, images, people, box_from=None, *, steady=False):
        score = self.scores.get(int(images[0][0, 0, 0]))
        found = super().poses(images, people, box_from)
        if score is None:
            return found
        return [dataclasses.replace(p, scores=np.vstack([p.scores[:-1], np.full((1, 17), score)])) for p in found]


@pytest.mark.parametrize(
    ("scores", "empty", "looked"),
    [
        ({}, (), [0, 8, 16, 24]),  # 8 / 30 s is the first time past a quarter of a second
        ({3: 0.29}, (), [0, 4, 12, 20]),  # one of the two is unsure: looked for at once
        ({3: 0.29, 4: 0.29}, (), [0, 4, 5, 13, 21]),
        ({3: 0.31}, (), [0, 8, 16, 24]),
        ({}, (0, 1, 2), [0, 1, 2, 3, 11, 19]),  # nobody there
    ],
)
def test_as_needed_means_four_times_a_second_and_at_once_where_a_pose_is_unsure(scores, empty, looked):
    items = [picture([] if i in empty else [(10 + 3 * i, 50), (200, 150)]) for i in range(26)]
    for i, image in enumerate(items):
        image[0, 0] = i
    estimator = Noting(RunConfig(det_every=0), scores)
    with Stream(ListSource(items), estimator) as stream:
        assert len(list(stream)) == 26
    assert estimator.looked == looked


def test_ids_can_be_switched_off_and_carried_boxes_still_work():
    results, estimator, _ = run(WALK, det_every=4, track=False)
    assert all(r.poses.ids is None for r in results)
    assert sum(estimator.calls) == 6


class Blinking(BlockEstimator):
    """Its detector sees nobody on some frames; the pictures are `WALK`, whose block is at x = 10 + 3 * frame.

    Its boxes waver by a third of a px, as a detector's do.
    """

    blind: tuple[int, ...] = ()

    def detect(self, images, *, steady=False):
        places = [(int(image[60].argmax()) // 3 - 10) // 3 for image in images]
        return [
            Detections(d.boxes[:0], d.scores[:0]) if p in self.blind else Detections(d.boxes + p % 2 / 3, d.scores)
            for d, p in zip(super().detect(images), places, strict=True)
        ]


def blink(blind, **settings):
    estimator = Blinking(RunConfig(**settings))
    estimator.blind = blind
    with Stream(ListSource(WALK), estimator) as stream:
        return list(stream)


def test_who_the_detector_loses_for_a_moment_is_looked_for_in_place():
    results = blink((5, 6, 7, 12))
    for r in results:
        word = "tracker" if r.frame in (5, 6, 7, 12) else "detector"
        assert (r.poses.ids.tolist(), list(r.poses.box_from)) == ([0], [word])
        np.testing.assert_allclose(r.poses.xy[0, 0], [10 + 3 * r.frame, 50])
        assert min(r.timings[stage] for stage in ("detect", "pose", "track")) >= 0


def test_whom_the_detector_saw_once_or_half_a_second_ago_is_not_looked_for():
    assert [len(r.poses) for r in blink((1, 2))][:4] == [1, 0, 0, 1]
    assert [len(r.poses) for r in blink(tuple(range(3, 23)))] == [1] * 18 + [0] * 5  # 15 frames at 30 a second
    assert sum(len(r.poses) for r in blink((5,), track=False)) == 22


@pytest.mark.parametrize("told", [True, False])
def test_a_run_with_lost_people_taken_up_again_equals_one_left_alone(told):
    """Recordings tell whose box was an expectation, tables do not."""
    whole = blink((5, 6, 7, 8, 9, 10, 15))
    estimator = Blinking(RunConfig())
    estimator.blind = (5, 6, 7, 8, 9, 10, 15)
    known = [r.poses if told else dataclasses.replace(r.poses, box_from=("detector",)) for r in whole[:8]]
    with Stream(ListSource(WALK), estimator, replay=known, after=7) as stream:
        for a, b in zip(whole[8:], list(stream), strict=True):
            np.testing.assert_array_equal(a.poses.xy, b.poses.xy)
            np.testing.assert_array_equal(a.poses.boxes, b.poses.boxes)
            assert (a.poses.ids.tolist(), a.poses.box_from) == (b.poses.ids.tolist(), b.poses.box_from)


@pytest.mark.parametrize("every", [0, 3])
def test_a_run_that_rests_its_detector_goes_on_as_if_never_cut(every):
    """Wherever it is cut: the detector looks when it would have, whether it lost somebody or is at rest."""
    blind = (8, 9, 16)
    whole = blink(blind, det_every=every)
    for stop in range(len(WALK) - 1):
        estimator = Blinking(RunConfig(det_every=every))
        estimator.blind = blind
        options = SourceOptions(skip_to=(stop + 1) // CHUNK * CHUNK)
        with Stream(Part(WALK, options), estimator, replay=[r.poses for r in whole[: stop + 1]], after=stop) as stream:
            later = list(stream)
        assert [r.frame for r in later] == list(range(stop + 1, len(WALK)))
        for a, b in zip(whole[stop + 1 :], later, strict=True):
            assert (a.poses.ids.tolist(), a.poses.box_from) == (b.poses.ids.tolist(), b.poses.box_from), stop
            np.testing.assert_array_equal(a.poses.boxes, b.poses.boxes)
            np.testing.assert_array_equal(a.poses.xy, b.poses.xy)


class Tail(ListSource):
    """Frames from the fifth on, and whatever lies between them, as a source that --resume opened gives them."""

    def __iter__(self):
        return (item for item in super().__iter__() if getattr(item, "index", CHUNK) >= CHUNK)


@pytest.mark.parametrize(
    "change", [Gap(reason="decode_error", t_start=0.1, t_end=0.2, seq_from=6), Segment(size=(320, 240))]
)
@pytest.mark.parametrize("stop", [4, 5, 6])
def test_a_gap_that_is_read_again_interrupts_nothing_a_second_time(change, stop):
    items = [*WALK[:6], change, *WALK[6:12]]
    whole = [r.poses for r in run(items, det_every=5)[0] if r.poses is not None]
    assert [p.box_from[0] for p in whole[5:8]] == ["detector", "detector", "tracker"]
    estimator = BlockEstimator(RunConfig(det_every=5))
    with Stream(Tail(items), estimator, replay=whole[: stop + 1], after=stop) as stream:
        later = [r.poses for r in stream if r.poses is not None]
    assert [(p.frame, p.box_from) for p in later] == [(p.frame, p.box_from) for p in whole[stop + 1 :]]


def test_smoothing_adds_a_field_and_leaves_the_raw_one():
    results, _, _ = run(WALK, smooth="one-euro")
    assert all(r.poses.xy_smooth is not None for r in results)
    np.testing.assert_allclose(results[9].poses.xy[0, 0], [37, 50])
    assert abs(results[9].poses.xy_smooth[0, 0, 0] - 37) > 0.01


def test_a_run_taken_up_again_equals_one_left_alone():
    whole, _, _ = run(WALK, smooth="one-euro")
    stop = 9  # in the middle of a chunk
    known = [r.poses for r in whole[: stop + 1]]
    rest = ListSource(WALK)
    rest.items = WALK
    with Stream(rest, BlockEstimator(RunConfig(smooth="one-euro")), replay=known, after=stop) as stream:
        later = list(stream)
    assert [r.frame for r in later] == list(range(stop + 1, 23))
    for a, b in zip(whole[stop + 1 :], later, strict=True):
        np.testing.assert_array_equal(a.poses.xy, b.poses.xy)
        np.testing.assert_array_equal(a.poses.xy_smooth, b.poses.xy_smooth)
        assert a.poses.ids.tolist() == b.poses.ids.tolist()


@pytest.mark.parametrize("where", ["source", "model"])
def test_an_error_on_a_thread_reaches_the_reader_after_what_came_before(where):
    items = [*WALK[:8], OSError("the disk broke")] if where == "source" else WALK
    stream = Stream(ListSource(items), BlockEstimator(fail_at=8 if where == "model" else -1))
    seen = []

    def read() -> None:
        for r in stream:
            seen.append(r.frame)

    with stream, pytest.raises((OSError, RuntimeError), match="broke"):
        read()
    assert seen == list(range(8))


def test_leaving_early_ends_the_threads_and_closes_the_source():
    before = threading.active_count()
    source = ListSource(WALK * 20)
    with Stream(source, BlockEstimator(delay=0.005)) as stream:
        next(iter(stream))
    assert source.closed
    deadline = time.monotonic() + 3
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before


def test_a_slow_model_on_a_live_source_sees_the_newest_frame():
    """A 100 fps source and a 50 ms model: frames are passed over and counted, and the delay stays near one call."""
    source = ListSource(WALK * 5, live=True, interval=0.01)
    estimator = BlockEstimator(delay=0.05)
    delays, numbers, skipped = [], [], 0
    with Stream(source, estimator) as stream:
        for r in stream:
            delays.append(r.latency_ms)
            numbers.append((r.frame, r.poses.frame))
            skipped += r.skipped
    assert len(delays) < 40
    assert numbers == [(i, i) for i in range(len(delays))]  # what was looked at is counted without holes
    assert len(delays) + skipped == len(WALK) * 5
    assert np.percentile(delays[2:], 90) < 150


def test_a_latency_is_measured_once_and_a_file_has_none():
    with Stream(ListSource(WALK[:2], live=True, interval=0.01), BlockEstimator(delay=0.05)) as stream:
        result = stream.take(10)
        handed = (time.monotonic() - result.t_capture) * 1e3
        first = result.latency_ms
        time.sleep(0.05)
        assert result.latency_ms == first
    assert 50 <= first <= handed
    assert set(result.timings) <= {"capture", "detect", "crop", "pose", "track"}  # seconds, all of them
    assert run(WALK[:1])[0][0].latency_ms is None


def test_paused_frames_are_a_gap():
    source = ListSource(WALK * 4, live=True, interval=0.01)
    gaps, frames = [], 0
    with Stream(source, BlockEstimator()) as stream:
        for r in stream:
            if r.gap:
                gaps.append(r.gap)
            elif r.poses is not None:
                frames += 1
                if frames == 5:
                    stream.pause(True)
                    threading.Timer(0.2, stream.pause, [False]).start()
    assert [g.reason for g in gaps] == ["paused"]
    assert frames < len(WALK) * 4 - 10


def test_forgetting_ids_goes_on_numbering_and_leaves_an_event():
    source = ListSource(WALK, live=True, interval=0.01)
    results = []
    with Stream(source, BlockEstimator()) as stream:
        for r in stream:
            results.append(r)
            if r.frame == 5 and r.poses is not None:
                stream.forget_ids()
                stream.mark(Event(kind="snapshot", t=r.pts))
    assert [r.event.kind for r in results if r.event] == ["snapshot", "ids_reset"]
    ids = [int(r.poses.ids[0]) for r in results if r.poses is not None]
    assert ids[0] == 0
    assert ids[-1] == 1


@pytest.mark.parametrize(("ended", "code"), [("eof", 0), ("limit", 0), ("early_eof", 7), ("source_lost", 7)])
def test_how_a_source_ends_is_the_exit_code(ended, code):
    with Stream(ListSource(WALK[:2], ended=ended), BlockEstimator()) as stream:
        list(stream)
        assert summary(stream)["exit_code"] == code


def test_an_empty_source_is_an_error():
    class Nothing(ListSource):
        def __iter__(self):
            return iter(())

    with Stream(Nothing(WALK), BlockEstimator()) as stream:
        assert list(stream) == []
        with pytest.raises(InputError, match="no frame"):
            require_frames(stream)


def test_pictures_of_the_caller_s_own():
    with Stream(PairSource((image, 2.0 + 0.1 * i) for i, image in enumerate(WALK[:4])), BlockEstimator()) as stream:
        assert [r.pts for r in stream] == pytest.approx([0, 0.1, 0.2, 0.3])
    with pytest.raises(InputError):
        PairSource([])
    with (
        Stream(PairSource([(WALK[0], 1.0), (WALK[1], 1.0)]), BlockEstimator()) as stream,
        pytest.raises(ValueError, match="rise"),
    ):
        list(stream)


def test_pictures_that_share_one_array_stay_apart():
    """As a loop around cv2.VideoCapture.read(buffer) has them: the stream reads ahead of what is being looked at."""

    def shared():
        buffer = np.zeros((60, 80, 3), np.uint8)
        for i in range(6):
            buffer[:] = i
            yield buffer, i / 10

    frames = list(PairSource(shared()))
    assert [int(f.image[0, 0, 0]) for f in frames] == list(range(6))
    assert not any(f.image.flags.writeable for f in frames)


def test_left_and_right_are_followed_in_pictures_with_times():
    with Stream(PairSource([(WALK[0], 0.0)]), BlockEstimator()) as stream:
        assert stream.follower.sides is not None


def test_a_pause_tells_which_frames_were_lost_and_when():
    source = ListSource(WALK * 4, live=True, interval=0.01)
    results = []
    with Stream(source, BlockEstimator()) as stream:
        for r in stream:
            results.append(r)
            if r.frame == 5 and r.poses is not None:
                stream.pause(True)
                threading.Timer(0.2, stream.pause, [False]).start()
    place = next(i for i, r in enumerate(results) if r.gap)
    before, gap, after = results[place - 1], results[place].gap, results[place + 1]
    assert (gap.seq_from, gap.seq_to) == (before.seq + 1, after.seq - 1)
    assert (gap.t_start, gap.t_end) == (before.pts, after.pts)
    assert gap.seq_to - gap.seq_from > 8


def test_a_pause_until_the_source_ends_is_a_gap_without_an_end():
    source = ListSource(WALK, live=True, interval=0.02)
    results = []
    with Stream(source, BlockEstimator()) as stream:
        for r in stream:
            results.append(r)
            stream.pause(True)
    gap, last = results[-1].gap, results[-2]
    assert (gap.reason, gap.seq_from, gap.seq_to, gap.t_start) == ("paused", last.seq + 1, None, last.pts)
    assert gap.t_end > gap.t_start


@pytest.mark.parametrize(
    "change", [Gap(reason="stalled", t_start=0.1, t_end=0.4, seq_from=3), Segment(size=(320, 240))], ids=["gap", "size"]
)
def test_boxes_are_not_carried_across_a_gap_or_another_size(change):
    items = [*WALK[:7], change, *WALK[7:]]
    results, _, _ = run(items, det_every=5)
    looked = [r.frame for r in results if r.poses is not None and r.poses.box_from[0] == "detector"]
    assert looked == [0, 5, 7, 10, 15, 20]


def test_who_was_just_lost_is_remembered_for_privacy():
    two, one = picture([(10, 50), (200, 100)]), picture([(10, 50)])
    results, _, _ = run([two, two, *[one] * 40], track_buffer=1.0)
    assert [len(r.hidden) for r in results[:3]] == [0, 0, 1]
    np.testing.assert_allclose(results[2].hidden, [[199.5, 99.5, 239.5, 139.5]], atol=2)
    assert len(results[-1].hidden) == 0  # the buffer is over
    assert run([two, one], track=False)[0][1].hidden is None


def noisy(places):
    """Blocks of noise on noise: what was blurred has lost it."""
    noise = np.random.default_rng(0).integers(0, 128, (240, 320, 3), np.uint8)
    return np.where(picture(places) > 0, noise + np.uint8(128), noise)


def sharp(result, place):
    """Whether a block can be recognised in a picture of blurred people without skeletons."""
    style = DrawStyle(background="blur-people", skeleton=False, points=False, boxes=False, ids=False)
    x, y = place
    shown = draw(result.image, result.poses, style, hide=result.cover)[y : y + 40, x : x + 40]
    return bool(shown.std() > 0.5 * result.image[y : y + 40, x : x + 40].std())


@pytest.mark.parametrize("every", [0, 5])
def test_a_newcomer_is_blurred_at_once_while_the_detector_rests_and_what_is_followed_stays_the_same(every):
    old, newcomer = (10, 50), (200, 100)
    items = [noisy([old])] * 2 + [noisy([old, newcomer])] * 5
    plain, at_rest, _ = run(items, det_every=every)
    hidden, looking, _ = run(items, det_every=every, background="blur-people")
    assert sum(at_rest.calls) < len(items) == sum(looking.calls)
    assert len(plain[3].poses) == 1  # the detector rests: nobody is followed there yet
    for a, b in zip(plain, hidden, strict=True):
        np.testing.assert_array_equal(a.poses.xy, b.poses.xy)
        assert list(a.poses.box_from) == list(b.poses.box_from)
    assert not any(sharp(r, old) for r in hidden)
    assert not any(sharp(r, newcomer) for r in hidden[2:])
    assert all(sharp(r, (100, 190)) for r in hidden)  # where nobody is


def test_people_over_the_limit_are_blurred_though_not_followed():
    people = [(10, 10), (100, 10), (200, 10)]
    results, _, _ = run([noisy(people)], max_people=2, background="blur-people")
    assert len(results[0].poses) == 2
    assert not any(sharp(results[0], place) for place in people)


def test_a_picture_that_nobody_looked_through_is_blurred_as_a_whole():
    """Blurring was asked for a moment too late for it: as for the results that wait when a key is pressed."""
    estimator = BlockEstimator()
    with Stream(ListSource([noisy([(10, 50)])] * 40, live=True, interval=0.02), estimator) as stream:
        before = stream.take(5)
        stream.hiding = True
        results = list(stream)
    assert not before.searched
    assert not sharp(before, (200, 100))
    assert results[-1].searched
    assert sharp(results[-1], (200, 100))
    assert not any(sharp(r, (10, 50)) for r in results)
