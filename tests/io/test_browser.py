"""A browser plays what is saved, finished or not."""

import json
import re
import shutil
import subprocess

import pytest
from clips import make

from tfpose_rt.io.files import FileSource
from tfpose_rt.io.parts import SinkOptions
from tfpose_rt.io.synthetic import SyntheticSource
from tfpose_rt.io.video import VideoSink
from tfpose_rt.records import Result

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PAGE = """<pre id=told></pre><script>
for (const name of NAMES) {
  const video = document.createElement('video');
  const tell = (what) => document.getElementById('told').append(JSON.stringify([name, what]) + '\\n');
  video.muted = true; video.preload = 'auto'; video.src = name;
  video.onloadeddata = () => tell([video.videoWidth, video.videoHeight, video.duration]);
  video.onerror = () => tell(video.error.message);
  document.body.append(video);
}
</script>"""


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
def test_chromium_plays_finished_and_unfinished_videos(tmp_path):
    make(tmp_path / "in.mkv", size=(177, 145), codec="ffv1", sounds=("flac",))
    for name in ("a.mp4", "b.webm"):
        source = FileSource(tmp_path / "in.mkv")
        sink = VideoSink(tmp_path / name, source.info, SinkOptions(audio=tmp_path / "in.mkv"))
        for frame in source:
            sink.write(Result(frame=frame.index, pts=frame.pts, image=frame.image))
        sink.close({"ended": "eof"})
        source.close()
    source = SyntheticSource("synthetic:160x120@30")
    sink = VideoSink(tmp_path / "c.mp4", source.info)
    for frame in source:
        sink.write(Result(frame=frame.index, pts=frame.pts, image=frame.image))
    shutil.copy(tmp_path / "c.mp4.part", tmp_path / "c.mp4")  # what a SIGKILL now would leave
    sink.abort()
    names = ["a.mp4", "b.webm", "c.mp4"]
    (tmp_path / "page.html").write_text(PAGE.replace("NAMES", json.dumps(names)))
    seen = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files",
         "--virtual-time-budget=20000", "--dump-dom", (tmp_path / "page.html").as_uri()],
        capture_output=True, text=True, timeout=120, check=False,
    ).stdout  # fmt: skip
    told = dict(json.loads(line) for line in re.findall(r'^(?:.*<pre id="told">)?(\[.*\])$', seen, re.MULTILINE))
    assert told["a.mp4"] == [178, 146, pytest.approx(0.96, abs=0.05)]
    assert told["b.webm"] == [178, 146, pytest.approx(0.96, abs=0.05)]
    assert told["c.mp4"][:2] == [160, 120]
