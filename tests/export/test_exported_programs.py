"""What `clover export --to torch` leaves runs in PyTorch alone."""

import re
import shutil
import subprocess
import sys

import pytest
from made_checkpoint import made_checkpoint

from clover.export.folder import export_torch

pytestmark = pytest.mark.slow


def test_programs_run_without_this_package(video, tmp_path):
    clover = made_checkpoint(depth=1)
    place = tmp_path / "torch"
    told = export_torch(clover, place)
    assert "largest difference from the checkpoint" in told[0]
    assert {path.name for path in place.glob("*.pt2")} == {"video.pt2", "text.pt2", "fusion.pt2"}
    shutil.copy(video, place / "clip.mp4")
    code = re.search(r"```python\n(.*?)```", (place / "README.md").read_text(), re.DOTALL)[1]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"import sys\nsys.modules['clover'] = None\n{code}"],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    shown = [float(word) for word in re.findall(r"-?\d\.\d+", done.stdout.splitlines()[0])]
    own = (clover.encode_text(["a red ball moves left", "a green star spins"]) @ clover.encode_video(video)).tolist()
    assert shown == pytest.approx(own, abs=0.02), "frames are resized by another library there"
