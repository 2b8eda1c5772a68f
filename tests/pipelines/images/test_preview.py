"""The picture of a slice: which slice, its proportions, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from glcm_cuda import GLCMSettings
from pipelines.images.preview import write_preview
from pipelines.images.volume import Volume


def volume_of(array):
    if array.ndim == 2:
        return Volume(array, (0.5, 0.6), (-3.0, 4.0), (1.0, 0.0, 0.0, 1.0))
    return Volume(array, (0.7, 0.8, 3.1), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))


def test_the_preview_shows_the_slice_with_most_of_the_region(tmp_path, rng, monkeypatch):
    from matplotlib.axes import Axes

    shown = []
    draw = Axes.imshow

    def spy(axes, values, **options):
        shown.append((np.asarray(values), options["aspect"]))
        return draw(axes, values, **options)

    monkeypatch.setattr(Axes, "imshow", spy)
    volume, entropy = volume_of(rng.random((4, 7, 6))), rng.random((4, 7, 6))
    region = np.zeros(volume.array.shape, np.uint8)
    region[3, 2:4, 2:5] = 1
    region[1, 0, 0] = 1
    write_preview(volume, entropy, tmp_path / "a.png", GLCMSettings(), region=region)
    write_preview(volume, entropy, tmp_path / "b.png", GLCMSettings(log_base=10))
    for call, index in enumerate((3, 3, 3, 2, 2, 2)):  # the image twice: beside the map, and under it
        np.testing.assert_array_equal(shown[call][0], (volume.array, volume.array, entropy)[call % 3][index])
        assert shown[call][1] == pytest.approx(0.8 / 0.7)
    for name in ("a.png", "b.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("feature", "label", "scale"),
    [
        ("joint_entropy", "entropy (nats), window 5, 7 levels", (0, 2.0 * np.log(7))),
        ("sum_entropy", "sum entropy (nats), window 5, 7 levels", None),
        ("contrast", "contrast, window 5, 7 levels", None),
    ],
)
def test_the_preview_names_the_feature_and_its_unit(tmp_path, rng, monkeypatch, feature, label, scale):
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    drawn, labels = [], []
    draw, bar = Axes.imshow, Figure.colorbar
    monkeypatch.setattr(
        Axes, "imshow", lambda axes, values, **given: drawn.append(given) or draw(axes, values, **given)
    )
    monkeypatch.setattr(
        Figure, "colorbar", lambda *given, **named: labels.append(named["label"]) or bar(*given, **named)
    )
    volume = volume_of(rng.random((9, 8)))
    settings = GLCMSettings(log_base="e", bin_width=3.0, aggregate="merge")
    values = rng.random((9, 8))
    write_preview(volume, values, tmp_path / "a.png", settings, feature=feature, levels=7)
    assert labels == [label]
    found = (drawn[2]["vmin"], drawn[2]["vmax"])
    assert found == pytest.approx(np.percentile(values, (0.5, 99.5)) if scale is None else scale)


def test_the_preview_shows_slices_across_the_axis_of_the_windows(tmp_path, rng, monkeypatch):
    from matplotlib.axes import Axes

    shown = []
    draw = Axes.imshow
    monkeypatch.setattr(
        Axes,
        "imshow",
        lambda axes, values, **given: shown.append((values, given["aspect"])) or draw(axes, values, **given),
    )
    volume, values = volume_of(rng.random((4, 7, 6))), rng.random((4, 7, 6))
    write_preview(volume, values, tmp_path / "a.png", GLCMSettings(slice_axis=1))
    np.testing.assert_array_equal(shown[0][0], volume.array[:, 3])
    np.testing.assert_array_equal(np.asarray(shown[2][0]), values[:, 3])
    assert shown[0][1] == pytest.approx(3.1 / 0.7)


def test_the_preview_takes_2d_images_and_maps_without_values(tmp_path, rng):
    volume = volume_of(rng.random((9, 8)))
    write_preview(
        volume,
        np.full((9, 8), np.nan, np.float32),
        tmp_path / "a.png",
        GLCMSettings(),
        region=np.ones((9, 8)),
    )
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_the_preview_is_not_written_over_or_elsewhere(tmp_path, rng):
    volume = volume_of(rng.random((9, 8)))
    (tmp_path / "a.png").write_text("old")
    with pytest.raises(FileExistsError, match=r"a\.png exists; give --force"):
        write_preview(volume, volume.array, tmp_path / "a.png", GLCMSettings())
    with pytest.raises(ValueError, match=r"must end in \.png, got a\.jpg"):
        write_preview(volume, volume.array, tmp_path / "a.jpg", GLCMSettings())
    assert (tmp_path / "a.png").read_text() == "old"
