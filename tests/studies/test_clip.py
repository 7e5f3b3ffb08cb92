from __future__ import annotations

import builtins
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from osler.errors import MissingExtra, Unreadable, Unsuitable, UsageError
from osler.studies.formats import read_frames, read_image, read_labels
from osler.studies.formats.clip import count_frames

CINE = Path(__file__).parent / "data" / "cine.mp4"  # H.264, 20 Hz: a disc at (12 + 3n, 24), 8 pixels in radius


def _frames(count: int, colour: bool = False) -> list[np.ndarray]:
    frames = [np.full((9, 8, 3), 20 * n, np.uint8) for n in range(count)]
    if colour:
        frames[1][4, 4] = (200, 10, 10)
    return frames


def _gif(path: Path, frames: list[np.ndarray], **options: object) -> Path:
    pictures = [PIL.Image.fromarray(frame) for frame in frames]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], **options)
    return path


def _mp4(path: Path, frames: list[np.ndarray]) -> Path:
    import cv2

    film = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 25, (64, 48))
    for frame in frames:
        film.write(np.ascontiguousarray(frame[..., ::-1]))
    film.release()
    return path


def test_a_grey_gif_has_frames_of_one_channel_and_their_times(tmp_path: Path) -> None:
    frames = read_frames(_gif(tmp_path / "a.gif", _frames(4), duration=[100, 200, 300, 400]))
    assert [int(one.array[0, 0, 0]) for one in frames.images] == [0, 20, 40, 60]
    assert frames.times_s == pytest.approx((0, 0.1, 0.3, 0.6))
    assert frames.images[0].array.shape == (1, 8, 9)


def test_one_frame_in_colour_makes_all_coloured(tmp_path: Path) -> None:
    frames = read_frames(_gif(tmp_path / "a.gif", _frames(3, colour=True), duration=100))
    assert {one.array.shape for one in frames.images} == {(3, 8, 9)}
    assert frames.images[1].array[:, 4, 4].tolist() == [200, 10, 10]


def test_frames_are_chosen_by_number_and_by_range(tmp_path: Path) -> None:
    path = _gif(tmp_path / "a.gif", _frames(6), duration=100)
    assert count_frames(path) == 6
    assert int(read_image(path, index=4).array[0, 0, 0]) == 80
    assert [int(one.array[0, 0, 0]) for one in read_frames(path, start=1, stop=6, step=2).images] == [20, 60, 100]
    with pytest.raises(Unsuitable, match="a film of 6 frames"):
        read_image(path)
    with pytest.raises(UsageError, match="6 frames and frame 6"):
        read_image(path, index=6)
    with pytest.raises(UsageError, match="none of them is in range"):
        read_frames(path, start=0, step=0)


def test_the_disc_of_an_h264_film_moves_as_it_was_drawn() -> None:
    frames = read_frames(CINE)
    assert (count_frames(CINE), len(frames.images)) == (12, 12)
    assert frames.times_s == pytest.approx(np.arange(12) / 20)
    for place, frame in enumerate(frames.images):
        assert frame.array.shape == (1, 64, 48)
        centre = np.argwhere(frame.array[0] > 115).mean(axis=0)
        np.testing.assert_allclose(centre, (12 + 3 * place, 24), atol=0.3)
    np.testing.assert_array_equal(read_image(CINE, index=7).array, frames.images[7].array)


def test_colours_of_a_film_come_as_red_green_blue(tmp_path: Path) -> None:
    red = np.zeros((48, 64, 3), np.uint8)
    red[..., 0] = 220
    array = read_image(_mp4(tmp_path / "a.mp4", [red] * 3), index=1).array
    np.testing.assert_allclose(array[:, 32, 24], (220, 0, 0), atol=12)


def test_a_film_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    data = CINE.read_bytes()
    for size in (len(data) - 1, len(data) // 2, 100):
        (tmp_path / "a.mp4").write_bytes(data[:size])
        with pytest.raises(Unreadable, match=r"a\.mp4 is cut off"):
            read_frames(tmp_path / "a.mp4")


def test_a_list_of_other_files_named_mp4_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text(f"ffconcat version 1.0\nfile {CINE}\n")
    with pytest.raises(Unreadable, match="does not begin as MP4"):
        read_frames(tmp_path / "a.mp4")


def test_a_film_is_no_mask() -> None:
    with pytest.raises(Unsuitable, match="films are no masks"):
        read_labels(CINE)


def test_without_the_extra_the_error_is_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingExtra, match=r"pip install 'osler\[clips\]'"):
        read_frames(CINE)


def test_a_gif_needs_no_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path, plain = _gif(tmp_path / "a.gif", _frames(2), duration=100), builtins.__import__

    def without_opencv(name: str, *rest: object) -> object:
        assert name != "cv2"
        return plain(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without_opencv)
    assert len(read_frames(path).images) == 2
