import pytest

from tfpose_rt.cli.watch import screening
from tfpose_rt.errors import DeviceError, UsageError


def test_without_a_screen_a_window_is_an_error_only_when_asked_for(monkeypatch):
    monkeypatch.setattr("tfpose_rt.live.window.has_screen", lambda: False)
    assert screening("none") is None
    assert screening("auto") is None
    with pytest.raises(DeviceError, match="screen"):
        screening("window")
    with pytest.raises(UsageError):
        screening("hologram")
