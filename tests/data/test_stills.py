import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from clover.data.video import probe, read_frames, read_frames_at
from clover.errors import MediaError


def photo(height=40, width=60):
    """Red left, blue right, bright top: no two turns of it look alike."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[:, : width // 2, 0] = 200
    picture[:, width // 2 :, 2] = 200
    picture[: height // 4, :, 1] = 150
    return picture


@pytest.mark.parametrize("ending", ["png", "bmp", "tiff", "webp", "jpg", "avif"])
def test_a_still_image_is_a_video_of_one_frame(tmp_path, ending):
    path = tmp_path / f"photo.{ending}"
    Image.fromarray(photo()).save(path, **({"lossless": True} if ending == "webp" else {}))
    info, frames = probe(path), read_frames(path, 3)
    assert (info.width, info.height, info.num_frames) == (60, 40, 1)
    assert frames.images.shape == (3, 40, 60, 3) and frames.seconds.tolist() == [0, 0, 0]
    difference = np.abs(frames.images.astype(int) - photo()).mean()
    assert difference < (6 if ending in ("jpg", "avif") else 1e-9)
    assert info.is_image and not info.has_audio and info.duration_seconds > 0
    assert read_frames(path, 1, short_side=20).images.shape == (1, 20, 30, 3)
    assert read_frames_at(path, [0.0, 5.0]).images.shape[0] == 2
    np.testing.assert_array_equal(read_frames(path.read_bytes(), 3).images, frames.images)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation):
    undo = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: np.rot90(a, 2),
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "photo.png"
    Image.fromarray(np.ascontiguousarray(undo(photo()))).save(path, exif=exif)
    np.testing.assert_array_equal(read_frames(path, 1).images[0], photo())
    assert (probe(path).width, probe(path).height) == (60, 40)


def test_every_colour_mode_becomes_rgb(tmp_path):
    picture = Image.fromarray(photo())
    for mode in ("1", "L", "P", "CMYK", "YCbCr", "RGBA", "LA", "PA", "I;16"):
        path = tmp_path / "picture.tiff"
        if mode == "I;16":
            Image.fromarray(photo()[..., 0].astype(np.uint16) * 257).save(path)
        else:
            picture.convert("L").convert(mode).save(path) if mode in ("LA", "PA") else picture.convert(mode).save(path)
        images = read_frames(path, 1).images
        assert images.shape == (1, 40, 60, 3) and images.dtype == np.uint8
        assert images[0, 20:, :28, 0].mean() > images[0, 20:, 32:, 0].mean() + 10


def test_transparency_is_laid_over_white(tmp_path):
    rgba = np.dstack([photo(), np.full((40, 60), 255, np.uint8)])
    rgba[:, :10] = (0, 0, 0, 0)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    image = read_frames(tmp_path / "a.png", 1).images[0]
    assert (image[:, :10] == 255).all()
    np.testing.assert_array_equal(image[:, 10:], photo()[:, 10:])
    palette = Image.fromarray(photo()).quantize(8)
    palette.save(tmp_path / "p.png", transparency=bytes([0] + [255] * 7))
    assert read_frames(tmp_path / "p.png", 1).images.shape == (1, 40, 60, 3)


def test_an_animated_webp_says_what_is_left_out(tmp_path):
    pictures = [Image.fromarray(np.full((8, 8, 3), value, np.uint8)) for value in (10, 100, 200)]
    pictures[0].save(tmp_path / "a.webp", save_all=True, append_images=pictures[1:], lossless=True)
    frames = read_frames(tmp_path / "a.webp", 2)
    assert (frames.images == 10).all()
    assert frames.problem is not None and "animated" in frames.problem


def test_broken_images(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)).save(tmp_path / "w.jpg")
    whole = (tmp_path / "w.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "head.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    for name in ("cut.jpg", "head.png"):
        with pytest.raises(MediaError, match="cannot be read") as caught:
            read_frames(tmp_path / name, 1)
        assert name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(("width", "height"), [(20000, 4), (10000, 9999), (20000, 20000)])
def test_absurd_sizes_are_refused_before_anything_is_allocated(width, height):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    with pytest.raises(MediaError, match=r"too large|too many pixels"):
        read_frames(io.BytesIO(bomb), 1)


def test_a_sliver_can_be_resized(tmp_path):
    Image.fromarray(np.full((2, 2000, 3), 50, np.uint8)).save(tmp_path / "sliver.png")
    assert read_frames(tmp_path / "sliver.png", 1, short_side=256).images.shape == (1, 256, 16384, 3)
