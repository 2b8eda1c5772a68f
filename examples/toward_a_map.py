"""Change an image until it has a given entropy map, by gradient descent through the entropy layer.

The exact engine has no gradient. Runs with any Keras backend:

    python examples/toward_a_map.py
"""

from __future__ import annotations

import keras
import numpy as np

from glcm_cuda import GLCMSettings
from glcm_cuda.maps import entropy_of_levels
from surrogate import GLCMEntropy

EDGE = 32
STEPS = 600


class Image(keras.layers.Layer):
    """An image as trainable weights; the input only sets the batch size."""

    def __init__(self, start: np.ndarray) -> None:
        super().__init__()
        self.levels = self.add_weight(shape=start.shape, initializer="zeros")
        self.levels.assign(start)

    def call(self, inputs):
        """Return the image."""
        return self.levels + 0 * inputs


def main() -> None:
    """Print the exact entropy of both halves of the image, before and after."""
    settings = GLCMSettings()
    rng = np.random.default_rng(0)
    # The target is 1 bit on the left and 4 bits on the right; the start is the same noise everywhere.
    target = np.where(np.arange(EDGE) < EDGE // 2, 1.0, 4.0) * np.ones((1, EDGE, 1))
    target = target[..., None].astype(np.float32)
    start = (32 + 2 * rng.standard_normal((1, EDGE, EDGE, 1))).astype(np.float32)
    image = Image(start)
    inputs = keras.Input((EDGE, EDGE, 1))
    model = keras.Model(inputs, GLCMEntropy(settings, temperature=0.5)(image(inputs)))
    model.compile(optimizer=keras.optimizers.Adam(0.1), loss="mse")
    nothing = np.zeros_like(target)
    history = model.fit(
        nothing.repeat(10, 0), target.repeat(10, 0), batch_size=1, epochs=STEPS // 10, verbose=0
    )
    levels = np.clip(np.rint(keras.ops.convert_to_numpy(image.levels)), 0, 63).astype(np.uint8)
    before = entropy_of_levels(np.rint(start[0, ..., 0]).astype(np.uint8), settings)
    after = entropy_of_levels(levels[0, ..., 0], settings)
    half = EDGE // 2
    print(f"loss {history.history['loss'][0]:.2f} -> {history.history['loss'][-1]:.2f} bits squared")
    for name, entropy in (("before", before), ("after", after)):
        left, right = entropy[:, :half].mean(), entropy[:, half:].mean()
        print(f"exact entropy {name}: left {left:.2f}, right {right:.2f} bits")


if __name__ == "__main__":
    main()
