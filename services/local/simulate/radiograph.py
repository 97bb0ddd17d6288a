"""A drawing that has the outline of a frontal chest radiograph, with or without an opacity. It says SYNTHETIC on it."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

SIZE = 256


def draw_chest(opacity: bool, draw: np.random.Generator) -> NDArray[np.uint8]:
    """Grey image [SIZE, SIZE]: a body, darker lungs, ribs, a heart's shadow; a soft bright patch where `opacity`."""
    image = Image.new("L", (SIZE, SIZE), 20)
    pen = ImageDraw.Draw(image)
    pen.rounded_rectangle((24, 20, 232, 256), 60, fill=150)
    shift = int(draw.integers(-4, 5))
    for left in (48, 138):
        pen.ellipse((left + shift, 48, left + 70 + shift, 214), fill=58)
    pen.ellipse((104 + shift, 120, 178 + shift, 216), fill=140)
    pen.rectangle((122 + shift, 20, 134 + shift, 256), fill=165)
    for rib in range(7):
        top = 58 + rib * 22 + int(draw.integers(-2, 3))
        pen.arc((36 + shift, top, 128 + shift, top + 46), 190, 350, fill=105, width=3)
        pen.arc((128 + shift, top, 222 + shift, top + 46), 190, 350, fill=105, width=3)
    image = image.filter(ImageFilter.GaussianBlur(2.5))
    if opacity:
        patch = Image.new("L", (SIZE, SIZE), 0)
        x, y = int(draw.choice([62, 150])) + shift, int(draw.integers(120, 160))
        radius = int(draw.integers(16, 28))
        ImageDraw.Draw(patch).ellipse((x, y, x + 2 * radius, y + 2 * radius), fill=190)
        image.paste(190, mask=patch.filter(ImageFilter.GaussianBlur(9)).point(lambda grey: grey * 3 // 4))
    grain = draw.normal(0, 4, (SIZE, SIZE))
    pixels = np.clip(np.asarray(image, np.float64) + grain, 0, 255).astype(np.uint8)
    marked = Image.fromarray(pixels)
    ImageDraw.Draw(marked).text((6, 4), "SYNTHETIC", fill=255)
    return np.asarray(marked, np.uint8)
