"""Polygons worked by hand, and against Matplotlib."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.path import Path

from pipelines.images.dicom.polygons import contains, filled

SQUARE = np.array([(1.0, 1.0), (3.0, 1.0), (3.0, 3.0), (1.0, 3.0)])


def test_centres_on_the_edges_of_a_square():
    expected = np.zeros((5, 6), bool)
    expected[2:4, 1:4] = True
    assert np.array_equal(filled(SQUARE, (5, 6)), expected)


@pytest.mark.parametrize(("edge", "expected"), [(True, [1, 1, 1, 0]), (False, [1, 0, 0, 0])])
def test_points_on_an_edge(edge, expected):
    points = np.array([(2.0, 2.0), (1.0, 2.5), (3.0, 3.0), (3.5, 2.0)])
    assert contains(SQUARE, points, edge=edge).tolist() == [bool(one) for one in expected]


def test_two_corners_in_one_place():
    doubled = np.repeat(SQUARE, 2, axis=0)
    assert np.array_equal(filled(doubled, (5, 6)), filled(SQUARE, (5, 6)))
    assert contains(doubled, np.array([(3.0, 2.0)]), edge=True).all()


@pytest.mark.parametrize("digits", [0, 3])
def test_the_same_pixels_as_matplotlib(rng, digits):
    """Also of polygons that cross themselves, and of corners on centres."""
    rows, columns = np.indices((14, 12))
    centres = np.stack([columns.ravel(), rows.ravel()], axis=1)
    for corners in rng.uniform(-3, 16, (50, 7, 2)).round(digits):
        expected = Path(corners, closed=False).contains_points(centres).reshape(14, 12)
        assert np.array_equal(filled(corners, (14, 12)), expected)
