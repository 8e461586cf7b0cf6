"""CC3M: one still picture of each scene, captions and links in a TSV, files named after the link."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

from clover.data.shapes.media import make_folder, write_still
from clover.data.shapes.publishers.publisher import Clip, digest, letters
from clover.data.shapes.publishers.tables import plain_text
from clover.data.shapes.rendering import render
from clover.data.shapes.sampling import ShapesConfig, sample_scene
from clover.data.shapes.scene import Scene
from clover.data.shapes.stills import still
from clover.data.shapes.writing import Rows, is_there

_FILES = {"train": "Train_GCC-training.tsv", "validation": "Validation_GCC-1.1.0-Validation.tsv"}
_FOLDERS = {"train": "training", "validation": "validation"}


def link(scene: Scene, config: ShapesConfig) -> str:
    """The invented address of one scene's picture."""
    data = digest(config, scene, "conceptual")
    page = letters(data, 8)
    return f"https://images.example/{page[:2]}/{page}{scene.index}.jpg{'?size=large' if scene.index % 7 == 1 else ''}"


@dataclass(frozen=True)
class Conceptual:
    """A pre-training corpus of pictures: there is no test file."""

    splits: tuple[str, ...] = tuple(_FILES)

    def scene(self, config: ShapesConfig, split: str, index: int) -> Scene:
        """Draw a scene as the corpus's own format has it."""
        return sample_scene(config, split, index)

    def clip(self, scene: Scene, config: ShapesConfig) -> Clip:
        """Name a picture by the CRC-32 of its link; one row of caption and link."""
        address = link(scene, config)
        media = f"{_FOLDERS[scene.split]}/{zlib.crc32(address.encode())}"
        return Clip(media=media, rows={scene.split: [(still(scene, config.seed).caption, address)]})

    def texts(self, config: ShapesConfig, rows: Rows) -> dict[str, str]:
        """``Train_GCC-training.tsv`` and ``Validation_GCC-1.1.0-Validation.tsv``."""
        return {f"annotations/{name}": plain_text(rows.get(split, [])) for split, name in _FILES.items()}

    def write(self, path: Path, scene: Scene, config: ShapesConfig) -> bool:
        """Write one picture as JPEG unless it is there."""
        if is_there(path):
            return False
        make_folder(path.parent)
        write_still(path, render(scene, [still(scene, config.seed).frame])[0])
        return True
