"""A teacher whose answers can be worked out by hand, and the bundled model on the bundled clip."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from tfpose_rt import assets, cli, skeleton
from tfpose_rt.config import ModelConfig
from tfpose_rt.errors import InputError, OutputError, UsageError, WeightsError
from tfpose_rt.model.tfpose import TFPose
from tfpose_rt.model.weights import load_model, save_model
from tfpose_rt.training import teach as teach_module
from tfpose_rt.training.data import Sample, is_validation, load
from tfpose_rt.training.labels import keep, kept, remember
from tfpose_rt.training.teach import teach
from tfpose_rt.training.validate import answer

NOSE, LEFT, RIGHT, HIP = (skeleton.INDEX[n] for n in ("nose", "left_shoulder", "right_shoulder", "left_hip"))
NOSE_AT, LEFT_AT, RIGHT_AT = (90, 52), (104, 72), (76, 72)  # the person faces us: the left is on the right
TRAIN, HELD = "photo0", next(f"photo{i}" for i in range(100) if is_validation(f"photo{i}"))


class Finder(nn.Module):
    """Finds dots by colour, as a model would: the nose is red; of two green dots the right one in the picture is left.

    Args:
        by_size: takes the larger green dot for the left shoulder instead, which mirroring does not change.
        hip: a place in every crop, in [0, 1], where it always sees both hips.
        score: of all joints.
    """

    def __init__(self, *, by_size=False, hip=None, score=0.9, keypoints=17):
        super().__init__()
        self.here = nn.Parameter(torch.zeros(1))
        self.config = SimpleNamespace(size=(96, 128), keypoints=keypoints, enlarge=1.25)
        self.by_size, self.hip, self.score = by_size, hip, score

    def forward(self, images):
        xy = torch.full((len(images), self.config.keypoints, 2), 0.5)
        score = torch.zeros(xy.shape[:2])
        for n, image in enumerate(images):
            height, width = image.shape[1:]
            for dots, joints in ((self.dots(image, 0), [NOSE]), (self.dots(image, 1), [LEFT, RIGHT])):
                for (_, x, y), joint in zip(dots, joints, strict=False):
                    xy[n, joint] = torch.tensor([(x + 0.5) / width, (y + 0.5) / height])
                    score[n, joint] = self.score
            if self.hip is not None:
                xy[n, HIP : HIP + 2], score[n, HIP : HIP + 2] = torch.tensor(self.hip), self.score
        return xy, score, torch.ones_like(score)

    def dots(self, image, channel):
        """(size, x, y) of each dot of one colour, the left shoulder's first."""
        mask = (image[channel] - image[2] > 0.35).numpy().astype(np.uint8)
        _, _, stats, centres = cv2.connectedComponentsWithStats(mask)
        found = [(int(s[cv2.CC_STAT_AREA]), *c) for s, c in zip(stats[1:], centres[1:], strict=True)]
        return sorted(found, key=lambda dot: -dot[0] if self.by_size else -dot[1])


def picture():
    image = np.full((160, 200, 3), 60, np.uint8)
    cv2.circle(image, NOSE_AT, 3, (0, 0, 255), -1)  # BGR
    cv2.circle(image, LEFT_AT, 5, (0, 255, 0), -1)
    cv2.circle(image, RIGHT_AT, 3, (0, 255, 0), -1)
    return image


def person(labels=(), *, image=TRAIN, box=(60, 40, 120, 120), joints=17, source="set"):
    """labels: (joint, place, weight) each; the rest is unknown."""
    xy, weight = np.zeros((joints, 2), np.float32), np.zeros(joints, np.float32)
    for joint, place, trust in labels:
        xy[joint], weight[joint] = place, trust
    return Sample("one", image, source, picture, np.array(box, np.float32), xy, weight, 60 * 80 * 0.53)


def test_unknown_joints_are_found_where_they_are():
    (out,), change = teach([person([(HIP, (100, 100), 1)])], Finder(), share=0.5)
    np.testing.assert_allclose(out.xy[[NOSE, LEFT, RIGHT]], [NOSE_AT, LEFT_AT, RIGHT_AT], atol=1)
    assert out.weight[[NOSE, LEFT, RIGHT, HIP]].tolist() == pytest.approx([0.45, 0.45, 0.45, 1])
    assert np.count_nonzero(out.weight) == 4
    assert change.added == {"set": 3}
    assert (change.people, change.newcomers, change.softened) == (1, 0, {"set": 0})


def test_a_low_score_labels_nothing():
    """At the same place, just under the threshold of 0.6."""
    labels = [(HIP, (100, 100), 1)]
    assert teach([person(labels)], Finder(score=0.61))[1].added == {"set": 3}
    assert teach([person(labels)], Finder(score=0.59))[1].added == {"set": 0}


def test_labels_of_people_are_never_moved_or_weakened():
    """A nose labelled 20 px beside the one the teacher sees stays to the bit."""
    before = person([(NOSE, (70, 52), 1), (LEFT, (50.25, 130), 1)])
    (out,), change = teach([before], Finder())
    np.testing.assert_array_equal(out.xy[[NOSE, LEFT]], before.xy[[NOSE, LEFT]])
    assert out.weight[[NOSE, LEFT]].tolist() == [1, 1]
    assert change.added == {"set": 1}  # the right shoulder alone


def test_held_out_people_are_neither_asked_about_nor_changed():
    def blind():
        raise AssertionError("a held-out picture was looked at")

    held = replace(person([(HIP, (100, 100), 1)], image=HELD), read=blind)
    xy, weight = held.xy.tobytes(), held.weight.tobytes()
    (out, _), change = teach([held, person([(HIP, (9, 9), 1)])], Finder())
    assert out is held
    assert (out.xy.tobytes(), out.weight.tobytes()) == (xy, weight)
    assert change.people == 1
    (out,), _ = teach([person([(HIP, (100, 100), 1)], image=HELD)], Finder(), hold_out=False)
    assert out.weight[NOSE] > 0


def test_a_mirrored_view_that_disagrees_blocks_the_label():
    """Left by size exchanges the shoulders in the mirrored crop: 28 px apart, and the tolerance is 9."""
    (out,), change = teach([person([(HIP, (100, 100), 1)])], Finder(by_size=True))
    assert out.weight[[LEFT, RIGHT]].tolist() == [0, 0]
    assert out.weight[NOSE] > 0
    assert change.added == {"set": 1}


@pytest.mark.parametrize(("hip", "added"), [((0.5, 0.5), 1), ((0.5, 0.0), 0)])
def test_a_place_that_moves_with_the_crop_is_no_label(hip, added):
    """The middle of the crop is one place in all views; its upper edge moves by 8 px when zoomed out by 1.15.

    The crop is 1.25 x 80 px high: half of it, times 0.15, is 7.5 px. A hip's tolerance at 2544 square px is
    sqrt(2 ln 2 x 2544) x 2 x 0.107 = 12.7 px, so the person is made smaller: a quarter of the area, 6.4 px.
    """
    small = replace(person([(RIGHT, (9, 9), 1)]), area=60 * 80 * 0.53 / 4)
    (out,), _ = teach([small], Finder(hip=hip))
    assert (out.weight[HIP] > 0) == added


@pytest.mark.parametrize(("left", "added"), [(-29.0, True), (-32.0, False), (170.0, False)])
def test_a_place_outside_the_picture_stays_unknown(left, added):
    """The hip is seen in the middle of the box: 30 px right of its left side; the picture ends at -0.5 and 199.5."""
    lonely = person([(RIGHT, (9, 9), 1)], box=(left, 40, left + 60, 120))
    (out,), _ = teach([lonely], Finder(hip=(0.5, 0.5)))
    assert (out.weight[HIP] > 0) == added
    if added:
        np.testing.assert_allclose(out.xy[HIP], (left + 30, 80), atol=1e-3)


def test_another_models_label_is_doubted_only_when_it_is_far():
    """OKS 0.1 at a shoulder, 2544 square px: sqrt(2 ln 10 x 2544) x 2 x 0.079 = 17.1 px."""
    near, far = (LEFT_AT[0], LEFT_AT[1] + 15), (RIGHT_AT[0], RIGHT_AT[1] + 19)
    before = person([(LEFT, near, 0.8), (RIGHT, far, 0.8), (NOSE, (0, 0), 1)])
    (out,), change = teach([before], Finder())
    np.testing.assert_array_equal(out.xy, before.xy)
    assert out.weight[[LEFT, RIGHT]].tolist() == pytest.approx([0.8, 0.08])
    assert change.softened == {"set": 1}
    assert teach([before], Finder(score=0.5))[1].softened == {"set": 0}  # nor by a teacher in doubt


def test_another_models_label_meets_the_teacher_half_way_where_they_agree():
    """OKS 0.5 at a shoulder, 2544 square px: sqrt(2 ln 2 x 2544) x 2 x 0.079 = 9.4 px. A person's never moves."""
    near, off = (LEFT_AT[0], LEFT_AT[1] + 8), (RIGHT_AT[0] - 11, RIGHT_AT[1])
    before = person([(LEFT, near, 0.8), (RIGHT, off, 0.8), (NOSE, (NOSE_AT[0] + 2, NOSE_AT[1]), 1)])
    (out,), change = teach([before], Finder())
    np.testing.assert_allclose(out.xy[LEFT], (LEFT_AT[0], LEFT_AT[1] + 4), atol=0.5)
    np.testing.assert_array_equal(out.xy[[RIGHT, NOSE]], before.xy[[RIGHT, NOSE]])
    np.testing.assert_array_equal(out.weight, before.weight)
    assert change.softened == {"set": 0}
    (out,), _ = teach([before], Finder(score=0.5))  # nor by a teacher in doubt
    np.testing.assert_array_equal(out.xy, before.xy)


def test_wholly_unlabelled_people():
    """One whom the teacher knows comes in; one it knows nothing of, and a held-out one, are left out."""
    strange = replace(person(), read=lambda: np.zeros((160, 200, 3), np.uint8))
    out, change = teach([person(), strange, person(image=HELD)], Finder())
    assert len(out) == 1
    assert (change.people, change.newcomers) == (2, 1)
    assert "1 wholly unlabelled" in str(change)
    assert "joints added: set 3; softened: none" in str(change)


def test_only_the_sets_asked_for():
    people = [person([(HIP, (9, 9), 1)], source=name) for name in ("a", "b")]
    out, change = teach(people, Finder(), sources=("b",))
    assert out[0] is people[0]
    assert change.added == {"b": 3}


def test_a_teacher_of_another_layout_is_refused():
    with pytest.raises(WeightsError, match="teacher of 16 joints: the set's people have 17"):
        teach([person()], Finder(keypoints=16))


def test_more_people_than_a_batch_keep_their_order():
    told = []
    people = [replace(person([(HIP, (i, i), 1)]), key=str(i)) for i in range(35)]
    out, change = teach(people, Finder(), report=lambda *at: told.append(at))
    assert [s.key for s in out] == [str(i) for i in range(35)]
    assert change.added == {"set": 105}
    assert told == [(32, 35), (35, 35)]


# frame of the bundled clip, and a person's box there
CLIP = ((5, (748, 288, 821, 509)), (40, (309, 31, 386, 238)), (110, (396, 90, 501, 250)))


@pytest.fixture(scope="module")
def bundled():
    return load_model(assets.ROOT / "weights/tfpose-n.safetensors")[0]


def clip_people():
    capture = cv2.VideoCapture(str(Path(assets.__file__).parent / "clips/demo.mp4"))
    for frame, box in CLIP:
        capture.set(cv2.CAP_PROP_POS_FRAMES, frame)
        image = np.asarray(capture.read()[1], np.uint8)
        sides = np.array(box, np.float32)
        area = float((sides[2:] - sides[:2]).prod()) * 0.53
        blank = np.zeros((17, 2), np.float32), np.zeros(17, np.float32)
        yield Sample(str(frame), f"frame{frame}", "clip", lambda image=image: image, sides, *blank, area)


def test_the_bundled_model_gives_hidden_joints_back(bundled):
    """Its strong answers as labels, every other one hidden; what it is unsure of must stay unknown."""
    blank = list(clip_people())
    said = answer(bundled, blank)
    strong, weak = said.scores > 0.85, said.scores < 0.3
    assert strong.sum() >= 30  # of 51: two people nearly whole, little of the one upside down
    assert weak.any()  # the far arm of somebody in a somersault
    shown = strong & (np.arange(17) % 2 == 0)
    people = [
        replace(s, xy=(xy * seen[:, None]).astype(np.float32), weight=seen.astype(np.float32))
        for s, xy, seen in zip(blank, said.xy, shown, strict=True)
    ]
    out, change = teach(people, bundled, share=0.5, hold_out=False)
    xy, weight = np.stack([s.xy for s in out]), np.stack([s.weight for s in out])
    hidden = strong & ~shown
    assert (weight[hidden] > 0).mean() > 0.95
    back = hidden & (weight > 0)
    assert (skeleton.oks(xy, said.xy, np.array([s.area for s in blank]))[back] > 0.5).all()
    assert ((weight[back] >= 0.3) & (weight[back] <= 0.5)).all()  # 0.6 to 1, times the share
    np.testing.assert_array_equal(xy[shown], said.xy[shown])
    assert (weight[shown] == 1).all()
    assert not weight[weak].any()
    assert change.added["clip"] == np.count_nonzero((weight > 0) & ~shown)

    again, _ = teach(people, bundled, share=0.5, hold_out=False)
    for a, b in zip(out, again, strict=True):
        assert (a.xy.tobytes(), a.weight.tobytes()) == (b.xy.tobytes(), b.weight.tobytes())


def box_only(folder, **changes):
    """A COCO folder: one labelled person, and one with a box alone."""
    (folder / "images").mkdir(parents=True)
    cv2.imwrite(str(folder / "images" / "a.png"), picture())
    known = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "bbox": [60, 40, 60, 80], "area": 2500.0,
             "keypoints": [90, 52, 2] + [0, 0, 0] * 16, "num_keypoints": 1}  # fmt: skip
    other = {"id": 2, "image_id": 1, "category_id": 1, "iscrowd": 0, "bbox": [60, 40, 40, 80], **changes}
    (folder / "annotations.json").write_text(json.dumps({
        "images": [{"id": 1, "file_name": "a.png", "width": 200, "height": 160}], "annotations": [known, other],
        "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "dog"}],
    }))  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({}, True),
        ({"keypoints": [0] * 51, "num_keypoints": 0}, True),
        ({"iscrowd": 1}, False),
        ({"category_id": 2}, False),
        ({"bbox": [60, 40, 30, 34]}, False),  # 1,020 square px: less than 32 x 32
        ({"bbox": [60, 40, -50, -80]}, False),
    ],
)
def test_people_with_a_box_alone_come_only_when_asked_for(tmp_path, changes, kept):
    box_only(tmp_path, **changes)
    assert [s.key for s in load(tmp_path)] == ["1"]
    found = load(tmp_path, unlabelled=17)
    assert [s.key for s in found] == ["1", "2"][: 1 + kept]
    if kept:
        np.testing.assert_array_equal(found[1].box, [59.5, 39.5, 99.5, 119.5])
        assert found[1].xy.shape == (17, 2)
        assert not found[1].weight.any()
        assert found[1].area == pytest.approx(40 * 80 * 0.53)


def test_a_packs_unlabelled_people(pack, tmp_path):
    rows = [json.loads(line) for line in (pack / "labels.jsonl").read_text().splitlines()[:3]]
    for row in rows[1:]:
        row.update(keypoints=[[0, 0, 0]] * 17, confidence=[0] * 17)
    rows[2]["box"] = [20.0, 15.0, 50.0, 45.0]  # 900 square px
    (tmp_path / "labels.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "train-00.tar").write_bytes((pack / "train-00.tar").read_bytes())
    assert [s.key for s in load(tmp_path)] == ["p0"]
    assert [s.key for s in load(tmp_path, unlabelled=17)] == ["p0", "p1"]


def test_a_run_goes_on_with_the_labels_it_began_with(tmp_path):
    first, copy, other = (tmp_path / f"{name}.safetensors" for name in ("first", "copy", "other"))
    for path in (first, copy, other):
        path.write_bytes(b"other" if path == other else b"same")
    run, plain = tmp_path / "run", tmp_path / "plain"
    remember(run, str(first), 0.5, resume=False)
    plain.mkdir()
    remember(plain, None, 0.5, resume=False)
    for folder in (run, plain):
        (folder / "run.json").touch()

    remember(run, str(copy), 0.5, resume=True)  # another name, the same bytes
    remember(plain, None, 0.7, resume=True)  # a share without a teacher decides nothing
    with pytest.raises(UsageError, match=r"share 0\.5.*--teacher-share 0\.5"):
        remember(run, str(first), 0.4, resume=True)
    with pytest.raises(UsageError, match="first"):
        remember(run, str(other), 0.5, resume=True)
    with pytest.raises(UsageError, match="first"):
        remember(run, None, 0.5, resume=True)
    with pytest.raises(UsageError, match="no teacher"):
        remember(plain, str(first), 0.5, resume=True)
    with pytest.raises(OutputError, match="never replaced"):
        remember(run, str(other), 0.5, resume=False)
    assert json.loads((run / "teacher.json").read_text())["name"] == str(first)


def test_a_beginning_without_a_run_leaves_no_teacher_behind(tmp_path):
    """Stopped while the teacher answered: the next run in that folder is its own."""
    (tmp_path / "t.safetensors").write_bytes(b"t")
    remember(tmp_path, str(tmp_path / "t.safetensors"), 0.5, resume=False)
    remember(tmp_path, None, 0.5, resume=False)
    remember(tmp_path, None, 0.5, resume=True)
    assert not (tmp_path / "teacher.json").exists()


def test_kept_labels_come_back_to_the_same_people(tmp_path):
    one = replace(person([(NOSE, NOSE_AT, 1.0)]), key="one")
    two = replace(person([(LEFT, LEFT_AT, 0.3)], image=HELD), key="two")
    keep(tmp_path, [two, one])
    nobody = [replace(s, xy=np.zeros_like(s.xy), weight=np.zeros_like(s.weight)) for s in (one, two)]
    back = kept(tmp_path, [*nobody, replace(nobody[0], key="three")])
    assert [s.key for s in back] == ["two", "one"]
    for got, wanted in zip(back, (two, one), strict=True):
        assert np.array_equal(got.xy, wanted.xy)
        assert np.array_equal(got.weight, wanted.weight)
        assert got.image == wanted.image
    with pytest.raises(InputError, match="1 of 2 people are gone"):
        kept(tmp_path, nobody[:1])
    keep(tmp_path, [])
    assert kept(tmp_path, nobody) == []  # whom the teacher is not sure of


def call(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["tfpose-rt", *map(str, words)])
    monkeypatch.delenv("TFPOSE_DEBUG", raising=False)
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_the_command(tmp_path, monkeypatch, capsys, tiny_trunk):
    """A teacher that sees every joint in the middle of the box, and is sure of it."""
    shape = ModelConfig(trunk=tiny_trunk, channels=64, encoder_layers=0, decoder_layers=1, size=(64, 96))
    model = TFPose(shape)
    model.calibration[:, 1] = 8.0
    save_model(tmp_path / "t.safetensors", model, {})
    box_only(tmp_path / "data")
    settings = [f"trunk={tiny_trunk}", "channels=64", "encoder_layers=0", "decoder_layers=1", "size=[64,96]", "amp=off"]
    words = ["train", tmp_path / "data", "--device", "cpu", "--epochs", 1, "--batch", 2]
    words += [word for setting in [*settings, "workers=1", "warmup=1"] for word in ("--set", setting)]
    run = ["--save-dir", tmp_path / "run"]

    assert call(monkeypatch, *words, *run, "--teacher", "yolo-n") == WeightsError.exit_code
    assert "not a TFPose" in capsys.readouterr().err
    assert call(monkeypatch, *words, *run, "--teacher", tmp_path / "t.safetensors") == 0
    said = capsys.readouterr().err
    # 16 joints of the labelled person, 17 of the one with a box
    line = "teacher t asked about 2 people (1 wholly unlabelled ones labelled); joints added: annotations 33"
    assert said.count(line) == 1
    assert "2 people, size n on a tiny trunk" in said
    assert json.loads((tmp_path / "run" / "run.json").read_text())["people"] == 2
    with np.load(tmp_path / "run" / "labels.npz") as stored:
        assert stored["weight"].astype(bool).sum() == 34
    monkeypatch.setattr(teach_module, "ask", None)  # a run that goes on reads what the teacher said
    assert call(monkeypatch, *words, *run, "--resume", "--teacher", tmp_path / "t.safetensors") == 0
    assert "asked about" not in capsys.readouterr().err
    again = ["--resume", "--teacher", tmp_path / "t.safetensors", "--teacher-share", 0.4]
    assert call(monkeypatch, *words, *run, *again) == UsageError.exit_code
    assert "share 0.5" in capsys.readouterr().err
