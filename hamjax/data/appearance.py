"""How an image looks, in a few numbers: its colour, its contrast, and how much it changes from place to place."""

import numpy as np

# Of places so many 64ths of a side apart, pixels are compared: from neighbours in a small image to parts of a lesion.
APART = (1, 2, 4, 8)
FLOOR = 1e-2  # of a spread, FLOOR_OF_CHANGE of a change, on a scale from 0 to 1: below it is noise of a camera
FLOOR_OF_CHANGE = 1e-3


def appearance(image: np.ndarray) -> np.ndarray:
    """Measure an image; the size of what is returned depends on the side alone.

    Spreads and changes are logarithms, as a picture has twice or half of another's and not so much more or less.

    Args:
        image: [S, S, 3] uint8.

    Returns:
        [D] float64, D being 16 from 64 pixels on: the mean of each colour; the logarithm of its standard deviation, and
        of that of red less green and of green less blue; the logarithms of the mean change of grey down and across,
        between places at each distance in `APART`.
    """
    # float32: twice as fast as float64 on large images, and what it rounds no camera sees.
    pixels = image.astype(np.float32) / 255
    red, green, blue = (pixels[..., k] for k in range(3))
    spreads = [channel.std() for channel in (red, green, blue, red - green, green - blue)]
    grey, side = pixels.mean(-1), len(image)
    changes = []
    for apart in sorted({max(1, round(side * part / 64)) for part in APART}):
        changes += [np.abs(grey[apart:] - grey[:-apart]).mean(), np.abs(grey[:, apart:] - grey[:, :-apart]).mean()]
    means = [channel.mean() for channel in (red, green, blue)]
    return np.array([*means, *np.log(np.add(spreads, FLOOR)), *np.log(np.add(changes, FLOOR_OF_CHANGE))], np.float64)
