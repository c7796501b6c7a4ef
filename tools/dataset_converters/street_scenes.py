"""Draw small street scenes in CamVid's layout: ``python .../street_scenes.py OUT_DIR``.

Each scene is a street seen from a car: buildings, trees, parked and moving cars, people, cyclists,
lamp posts, signs and fences stand on the ground plane at their true size, and nearer ones hide
farther ones. Labels and folders are those of SegNet's CamVid (11 classes and Unlabelled). A scene
is a function of seed, split and number alone.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from mmseg_rmi.utils.command_line import add_debug_argument, run_tool

SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST, VOID = range(12)

OVERSAMPLING = 2  # canvas pixels per pixel, along each side
CAMERA_HEIGHT = 1.5  # metres
FOCAL_LENGTH = 0.9  # of the picture's width
FARTHEST = 70.0  # metres

Point = tuple[float, float]
Points = Sequence[Point]
Colour = Sequence[float] | np.ndarray


class Canvas:
    """A picture and its label map, painted from far to near through a pinhole camera.

    The camera looks along Z from 1.5 m above the ground; X points right, Y up, all in metres.
    """

    def __init__(self, height: int, width: int, rng: np.random.Generator) -> None:
        self.height, self.width, self.rng = height * OVERSAMPLING, width * OVERSAMPLING, rng
        self.image = np.zeros((self.height, self.width, 3), np.float32)
        self.labels = np.full((self.height, self.width), SKY, np.uint8)
        self.horizon = self.height * rng.uniform(0.38, 0.5)
        self.vanishing = self.width * rng.uniform(0.4, 0.6)
        self.grain = self.noise(3)

    def scale(self, z: float) -> float:
        """Canvas pixels per metre at the distance z."""
        return FOCAL_LENGTH * self.width / z

    def project(self, x: float, y: float, z: float) -> tuple[float, float]:
        """Canvas coordinates (column, row) of a point in space."""
        return (
            self.vanishing + x * self.scale(z),
            self.horizon + (CAMERA_HEIGHT - y) * self.scale(z),
        )

    def noise(self, cell: float) -> np.ndarray:
        """Smooth noise of unit variance, canvas sized; ``cell`` is its grain in canvas pixels."""
        rows, columns = (max(2, round(side / cell)) for side in (self.height, self.width))
        grains = self.rng.standard_normal((rows, columns)).astype(np.float32)
        return cv2.resize(grains, (self.width, self.height), interpolation=cv2.INTER_CUBIC)

    def polygon(self, *outlines: Points) -> np.ndarray:
        """Mask of one or more polygons that do not overlap."""
        mask = np.zeros(self.labels.shape, np.uint8)
        cv2.fillPoly(mask, [np.round(points).astype(np.int32) for points in outlines], 1)
        return mask.astype(bool)

    def ellipse(self, centre: Point, radii: Point, outline: float | None = None) -> np.ndarray:
        """Mask of an upright ellipse, or of its outline where a width is given."""
        mask = np.zeros(self.labels.shape, np.uint8)
        axes = [max(1, round(radius)) for radius in radii]
        stroke = -1 if outline is None else _stroke(outline)
        cv2.ellipse(mask, [round(c) for c in centre], axes, 0, 0, 360, 1, stroke)
        return mask.astype(bool)

    def lines(self, *strokes: tuple[Point, Point, float]) -> np.ndarray:
        """Mask of lines from a point to another, each at least one pixel of the picture wide."""
        mask = np.zeros(self.labels.shape, np.uint8)
        for *ends, width in strokes:
            start, end = ([round(c) for c in point] for point in ends)
            cv2.line(mask, start, end, 1, _stroke(width))
        return mask.astype(bool)

    def paint(
        self, mask: np.ndarray, colour: Colour, label: int | None, grain: float = 0.03
    ) -> None:
        """Paint where the mask is; with no label the thing is a detail of what is below it."""
        texture = 1 + grain * self.grain[mask]
        self.image[mask] = np.asarray(colour, np.float32) * texture[:, None]
        if label is not None:
            self.labels[mask] = label

    def leave_unlabelled_around(self, mask: np.ndarray) -> None:
        """Draw the border of one pixel that annotators leave around an object."""
        size = 2 * OVERSAMPLING + 1
        grown = cv2.dilate(mask.astype(np.uint8), np.ones((size, size), np.uint8)).astype(bool)
        self.labels[grown & ~mask] = VOID


def _stroke(width: float) -> int:
    return max(OVERSAMPLING, round(width))


def draw_sky(canvas: Canvas) -> None:
    """Fill the canvas with a sky, from clear to overcast."""
    rng = canvas.rng
    height = np.linspace(0, 1, canvas.height, dtype=np.float32)[:, None, None]
    zenith = np.array([rng.uniform(0.35, 0.75), rng.uniform(0.55, 0.8), rng.uniform(0.75, 0.95)])
    haze = np.full(3, rng.uniform(0.75, 1.0))
    clouds = np.clip(canvas.noise(60) + 0.5 * canvas.noise(20), 0, 1)[..., None]
    clouds *= rng.uniform(0, 0.4)
    canvas.image[:] = (zenith + (haze - zenith) * np.minimum(1, 2 * height)) * (1 - clouds) + clouds


def draw_ground(canvas: Canvas, road: float, kerb: float) -> None:
    """Draw the road up to |X| = road, with marks and patches, and the pavement beyond it."""
    rng = canvas.rng
    rows, columns = np.mgrid[: canvas.height, : canvas.width].astype(np.float32)
    below = rows > canvas.horizon + 1
    depth = np.maximum(rows - canvas.horizon, 1)
    z = FOCAL_LENGTH * canvas.width * CAMERA_HEIGHT / depth
    x = (columns - canvas.vanishing) * CAMERA_HEIGHT / depth
    side = np.abs(x)

    asphalt = rng.uniform(0.25, 0.45)
    canvas.paint(below, np.array([1, 1, 1.04]) * asphalt, ROAD, 0.06)
    tint = np.array([rng.uniform(1.0, 1.12), 1, rng.uniform(0.9, 1)])
    paving = below & (side > road)
    canvas.paint(paving, tint * (asphalt + rng.uniform(-0.02, 0.16)), PAVEMENT, 0.05)
    joint = paving & (((x % 0.9) < 0.06) | ((z % 0.9) < 0.06)) & (z < 14)
    canvas.image[joint] *= 0.85
    canvas.image[paving & (side < road + kerb)] = asphalt + rng.uniform(0.15, 0.3)

    centre = below & (side < 0.08) & ((z % 4) < rng.choice([2.0, 4.0]))
    edge = below & (np.abs(side - road + 0.4) < 0.06) & (rng.random() < 0.6)
    canvas.image[centre | edge] = rng.uniform(0.65, 0.9)
    patch = below & (canvas.noise(30) > 1.2) & (side < road)
    canvas.image[patch] *= rng.uniform(0.8, 0.95)


def draw_shadow(canvas: Canvas, x: float, z: float, width: float, length: float) -> None:
    """Darken the ground under a thing."""
    (column, row), (_, far) = canvas.project(x, 0, z), canvas.project(x, 0, z + length)
    radii = (canvas.scale(z) * width / 2, max(1.0, (row - far) / 2))
    canvas.image[canvas.ellipse((column, (row + far) / 2), radii)] *= 0.55


def draw_row_of_buildings(canvas: Canvas, side: int, x: float) -> None:
    """Draw facades with windows and doors along one side of the street."""
    rng = canvas.rng
    far = FARTHEST
    while far > 2.5:
        near = max(2.0, far - rng.uniform(5, 14))
        if rng.random() < 0.85:
            draw_facade(canvas, side * x, rng.uniform(5, 14), near, far)
        far = near


def draw_facade(canvas: Canvas, x: float, height: float, near: float, far: float) -> None:
    """Draw one house front, a plane along the street, and its gable end."""
    rng = canvas.rng
    palette = [[0.55, 0.3, 0.24], [0.72, 0.62, 0.5], [0.6, 0.6, 0.6], [0.85, 0.82, 0.76]]
    colour = np.array(palette[rng.integers(len(palette))]) * rng.uniform(0.6, 1.1)

    def quad(bottom: float, top: float, start: float, end: float) -> Points:
        corners = [(start, bottom), (start, top), (end, top), (end, bottom)]
        return [canvas.project(x, y, z) for z, y in corners]

    gable = [(x, 0), (x, height), (x + np.sign(x) * 12, height), (x + np.sign(x) * 12, 0)]
    end = canvas.polygon([canvas.project(*corner, near) for corner in gable])
    canvas.paint(end, colour * 0.75, BUILDING)
    wall = canvas.polygon(quad(0, height, near, far))
    canvas.paint(wall, colour, BUILDING, 0.05)
    if rng.random() < 0.5:
        canvas.leave_unlabelled_around(wall | end)

    glass = np.array([0.2, 0.24, 0.3]) * rng.uniform(0.6, 2)
    pitch, storey = rng.uniform(1.6, 2.6), rng.uniform(2.6, 3.2)
    windows = [
        quad(bottom, bottom + 1.4, start, start + pitch * 0.5)
        for bottom in np.arange(0.9, height - 1.8, storey)
        for start in np.arange(near + 0.5, far - 1, pitch)
    ]
    if windows:
        canvas.paint(canvas.polygon(*windows), glass, None)


def draw_tree(canvas: Canvas, x: float, z: float) -> None:
    """Draw a trunk and a crown of leaves with gaps, or a bush."""
    rng = canvas.rng
    scale = canvas.scale(z)
    bush = rng.random() < 0.25
    middle, radius = (0.6, 0.8) if bush else (rng.uniform(3.5, 5), rng.uniform(1.3, 2.3))
    leaves = np.array([rng.uniform(0.2, 0.4), rng.uniform(0.3, 0.5), rng.uniform(0.1, 0.22)])
    column, row = canvas.project(x, middle, z)
    crown = np.zeros(canvas.labels.shape, bool)
    for _ in range(14):
        across, up = rng.normal(0, 0.5, 2) * radius * scale
        size = rng.uniform(0.3, 0.6) * radius * scale
        crown |= canvas.ellipse((column + across, row + up), (size, size))
    crown &= canvas.noise(max(3, 0.25 * scale)) > -1.4
    trunk = canvas.lines((canvas.project(x, 0, z), (column, row), 0.3 * scale))
    canvas.paint(trunk, [0.3, 0.24, 0.18], TREE)
    canvas.paint(crown, leaves, TREE, 0.25)
    if rng.random() < 0.5:
        canvas.leave_unlabelled_around(crown | trunk)


def draw_fence(canvas: Canvas, x: float, near: float, far: float) -> None:
    """Draw posts, rails and bars along the street; as in CamVid the whole panel is the fence."""
    rng = canvas.rng
    height = rng.uniform(0.9, 1.3)
    colour = np.array([1, 1, rng.uniform(0.9, 1.1)]) * rng.choice([0.2, 0.45, 0.8])
    corners = [(near, 0), (near, height), (far, height), (far, 0)]
    panel = canvas.polygon([canvas.project(x, y, z) for z, y in corners])
    canvas.labels[panel] = FENCE
    canvas.image[panel] = 0.8 * canvas.image[panel] + 0.2 * colour.astype(np.float32)

    def bar(start: Point, end: Point, thickness: float) -> tuple[Point, Point, float]:
        (z1, y1), (z2, y2) = start, end
        width = thickness * canvas.scale((z1 + z2) / 2)
        return canvas.project(x, y1, z1), canvas.project(x, y2, z2), width

    rails = [bar((near, y), (far, y), 0.05) for y in (0.15, height)]
    posts = [bar((z, 0), (z, height), 0.08) for z in np.arange(near, far, 1.8)]
    bars = [bar((z, 0), (z, height), 0.03) for z in np.arange(near, far, 0.3)]
    canvas.paint(canvas.lines(*rails, *posts, *bars), colour, FENCE)


def draw_pole(canvas: Canvas, x: float, z: float) -> None:
    """Draw a lamp post, a signpost or a bare pole."""
    rng = canvas.rng
    scale = canvas.scale(z)
    kind = rng.choice(['lamp', 'sign', 'bare'], p=[0.4, 0.4, 0.2])
    height = rng.uniform(5.5, 8) if kind == 'lamp' else rng.uniform(2.4, 3.4)
    width = rng.uniform(0.13, 0.22)
    colour = np.full(3, rng.choice([0.12, 0.3, 0.7]) * rng.uniform(0.8, 1.2))
    top = canvas.project(x, height, z)
    strokes = [(canvas.project(x, 0, z), top, width * scale)]
    if kind == 'lamp':
        tip = canvas.project(x - np.sign(x) * rng.uniform(0.8, 1.8), height + 0.2, z)
        strokes.append((top, tip, 0.7 * width * scale))
    canvas.paint(canvas.lines(*strokes), colour, POLE)
    if kind == 'sign':
        draw_sign(canvas, top, scale)


def draw_sign(canvas: Canvas, centre: Point, scale: float) -> None:
    """Draw a disc, a triangle, a board or a traffic light."""
    rng = canvas.rng
    column, row = centre
    size = max(2.0 * OVERSAMPLING, rng.uniform(0.3, 0.45) * scale)
    red, blue, white, black = [0.75, 0.1, 0.1], [0.1, 0.25, 0.65], [0.9, 0.9, 0.9], [0.1, 0.1, 0.1]
    kind = rng.choice(['disc', 'triangle', 'board', 'light'])
    if kind == 'disc':
        canvas.paint(canvas.ellipse(centre, (size, size)), red, SIGN)
        canvas.paint(canvas.ellipse(centre, (0.65 * size, 0.65 * size)), white, None)
    elif kind == 'triangle':
        for part, colour in [(1.0, red), (0.6, white)]:
            corners = [(0.0, -1.0), (1.0, 0.8), (-1.0, 0.8)]
            points = [(column + part * size * a, row + part * size * b) for a, b in corners]
            canvas.paint(canvas.polygon(points), colour, SIGN)
    else:
        wide, colour = (0.8, blue) if kind == 'board' else (0.5, black)
        corners = [(-wide, -1.2), (wide, -1.2), (wide, 1.2), (-wide, 1.2)]
        points = [(column + size * a, row + size * b) for a, b in corners]
        canvas.paint(canvas.polygon(points), colour, SIGN)
        if kind == 'light':
            lamp = (column, row + rng.choice([-0.7, 0.7]) * size)
            canvas.paint(canvas.ellipse(lamp, (0.35 * size, 0.35 * size)), [1, 0.4, 0.2], None)


def draw_car(canvas: Canvas, x: float, z: float) -> None:
    """Draw a car or a van from behind or in front, with the side that one sees of it."""
    rng = canvas.rng
    tall = rng.choice([1.45, 1.6, 2.2], p=[0.5, 0.3, 0.2])
    half, waist, length = rng.uniform(0.8, 0.95), 0.58 * tall, rng.uniform(3.6, 4.8)
    hue = rng.choice(6)
    colour = np.array(
        [[0.8, 0.8, 0.8], [0.15, 0.15, 0.17], [0.6, 0.1, 0.1], [0.12, 0.2, 0.5], [0.45, 0.48, 0.5],
         [0.7, 0.65, 0.5]][hue]
    ) * rng.uniform(0.8, 1.2)  # fmt: skip
    draw_shadow(canvas, x, z, 2.2 * half, length)
    whole = np.zeros(canvas.labels.shape, bool)

    def part(points: list[tuple[float, float, float]], shade: Colour) -> None:
        mask = canvas.polygon([canvas.project(*point) for point in points])
        canvas.paint(mask, shade, CAR)
        np.logical_or(whole, mask, out=whole)

    seen = x - np.sign(x) * half  # the flank that faces the camera's axis
    flank = [(seen, 0.3, z), (seen, waist, z), (seen, waist, z + length), (seen, 0.3, z + length)]
    part(flank, colour * 0.7)
    cabin = [(seen, waist, z), (seen, tall, z + 0.5), (seen, tall, z + 0.7 * length)]
    part([*cabin, (seen, waist, z + 0.85 * length)], np.array([0.12, 0.14, 0.16]))
    for end in (0.18, 0.8):
        column, row = canvas.project(seen, 0.32, z + end * length)
        scale = canvas.scale(z + end * length)
        wheel = canvas.ellipse((column, row), (max(1, 0.12 * scale), 0.32 * scale))
        canvas.paint(wheel, [0.06, 0.06, 0.06], CAR)
        whole |= wheel

    for left in (x - half + 0.12, x + half - 0.32):
        tyre = [(left, 0), (left + 0.2, 0), (left + 0.2, 0.4), (left, 0.4)]
        part([(a, b, z) for a, b in tyre], [0.05, 0.05, 0.05])
    body = [(-half, 0.25), (-half, waist), (-0.82 * half, tall), (0.82 * half, tall)]
    part([(x + a, b, z) for a, b in [*body, (half, waist), (half, 0.25)]], colour)
    pane = [(-0.8, waist), (-0.7, tall - 0.12), (0.7, tall - 0.12), (0.8, waist)]
    part([(x + a * half, b, z) for a, b in pane], [0.15, 0.18, 0.22])
    light = rng.choice([0, 1])
    for left in (x - 0.92 * half, x + 0.68 * half):
        lamp = [(left, 0.62), (left + 0.2, 0.62), (left + 0.2, 0.8), (left, 0.8)]
        part([(a, b, z) for a, b in lamp], [[0.7, 0.08, 0.08], [0.95, 0.95, 0.85]][light])
    if rng.random() < 0.5:
        canvas.leave_unlabelled_around(whole)


def clothes(rng: np.random.Generator) -> np.ndarray:
    """A colour that people wear: mostly dark, at times bright."""
    return rng.uniform(0.05, 0.35, 3) if rng.random() < 0.7 else rng.uniform(0.2, 0.95, 3)


def draw_pedestrian(canvas: Canvas, x: float, z: float) -> None:
    """Draw somebody standing or walking."""
    rng = canvas.rng
    height, stride = rng.uniform(1.5, 1.9), rng.uniform(0.02, 0.28)
    scale, trousers = canvas.scale(z), clothes(rng)
    draw_shadow(canvas, x, z, 0.5, 0.4)
    hip = canvas.project(x, 0.5 * height, z)
    feet = [canvas.project(x + step, 0, z) for step in (-stride, stride)]
    canvas.paint(canvas.lines(*((foot, hip, 0.15 * scale) for foot in feet)), trousers, PEDESTRIAN)
    draw_upper_body(canvas, x, 0.45 * height, height, z, PEDESTRIAN)


def draw_upper_body(canvas: Canvas, x: float, hip: float, top: float, z: float, label: int) -> None:
    """Draw torso, arms and head between the heights hip and top."""
    rng = canvas.rng
    scale, coat = canvas.scale(z), clothes(rng)
    shoulder = top - 0.28
    torso = [(-0.17, hip), (-0.23, shoulder), (0.23, shoulder), (0.17, hip)]
    points = [canvas.project(x + a, b, z) for a, b in torso]
    canvas.paint(canvas.polygon(points), coat, label)
    arms = [
        (
            canvas.project(x + side * 0.22, shoulder - 0.05, z),
            canvas.project(x + side * rng.uniform(0.24, 0.36), hip + 0.05, z),
            0.09 * scale,
        )
        for side in (-1, 1)
    ]
    canvas.paint(canvas.lines(*arms), coat * 0.9, label)
    head = canvas.ellipse(canvas.project(x, top - 0.13, z), (0.11 * scale, 0.14 * scale))
    canvas.paint(head, np.array([0.75, 0.55, 0.45]) * rng.uniform(0.4, 1.1), label)


def draw_bicyclist(canvas: Canvas, x: float, z: float) -> None:
    """Draw a rider on a bicycle turned by some angle to the camera."""
    rng = canvas.rng
    scale, turn = canvas.scale(z), rng.uniform(0.12, 1)
    frame = np.array([0.1, 0.1, 0.12]) if rng.random() < 0.6 else rng.uniform(0.1, 0.8, 3)
    draw_shadow(canvas, x, z, 0.4 + 1.2 * turn, 0.4)
    hubs = [canvas.project(x + side * 0.52 * turn, 0.34, z) for side in (-1, 1)]
    for hub in hubs:
        radii = (max(1.0, 0.34 * turn * scale), 0.34 * scale)
        canvas.paint(canvas.ellipse(hub, radii, 0.05 * scale), [0.06, 0.06, 0.06], BICYCLIST)
    crank, saddle = canvas.project(x, 0.32, z), canvas.project(x - 0.15 * turn, 0.92, z)
    bars = canvas.project(x + 0.42 * turn, 1.0, z)
    tubes = [(hubs[0], crank), (crank, saddle), (crank, bars), (hubs[1], bars)]
    canvas.paint(canvas.lines(*((*tube, 0.05 * scale) for tube in tubes)), frame, BICYCLIST)
    knee = canvas.project(x + 0.25 * turn, 0.75, z)
    leg = [(saddle, knee, 0.15 * scale), (knee, crank, 0.15 * scale)]
    canvas.paint(canvas.lines(*leg), clothes(rng), BICYCLIST)
    draw_upper_body(canvas, x + 0.1 * turn, 0.9, rng.uniform(1.6, 1.8), z, BICYCLIST)


def draw_bonnet(canvas: Canvas) -> None:
    """Draw the bonnet of the car that carries the camera, which nobody labels."""
    rng = canvas.rng
    centre = (canvas.width * rng.uniform(0.3, 0.9), canvas.height * 1.02)
    radii = (canvas.width * rng.uniform(0.3, 0.6), canvas.height * rng.uniform(0.03, 0.08))
    canvas.paint(canvas.ellipse(centre, radii), np.full(3, rng.uniform(0.05, 0.7)), VOID)


def furnish(canvas: Canvas, road: float, facade: float) -> list[tuple[float, Callable[[], None]]]:
    """Choose the things in the scene: pairs of a distance and how to draw what stands there."""
    rng = canvas.rng
    things: list[tuple[float, Callable[[], None]]] = []

    def distance(nearest: float) -> float:
        return float(np.exp(rng.uniform(np.log(nearest), np.log(40))))

    def put(
        draw: Callable, counts: tuple[int, int], xs: tuple[float, float], nearest: float
    ) -> None:
        for _ in range(int(rng.integers(*counts))):
            x, z = rng.choice([-1, 1]) * rng.uniform(*xs), distance(nearest)
            things.append((z, partial(draw, canvas, x, z)))

    put(draw_tree, (0, 7), (road + 1.5, facade), 8)
    put(draw_pole, (3, 8), (road + 0.3, road + 1), 5)
    put(draw_car, (0, 4), (1.2, road - 1.2), 7)
    put(draw_pedestrian, (1, 8), (road + 0.4, facade - 0.6), 5)
    put(draw_pedestrian, (0, 2), (0.3, road), 8)
    put(draw_bicyclist, (0, 4), (0.8, road), 5)
    for side in (-1, 1):
        if rng.random() < 0.45:
            z = rng.uniform(6, 14)
            while z < 35:
                x = side * (road - 0.9)
                things.append((z, partial(draw_car, canvas, x, z)))
                z += rng.uniform(5.5, 9)
        if rng.random() < 0.5:
            near = rng.uniform(4, 12)
            x, far = side * (road + rng.uniform(0.4, 1.4)), near + rng.uniform(5, 18)
            things.append(((near + far) / 2, partial(draw_fence, canvas, x, near, far)))
    return things


def develop(canvas: Canvas) -> tuple[np.ndarray, np.ndarray]:
    """Take the picture: light, shrink, blur, add noise; returns uint8 RGB picture and labels."""
    rng = canvas.rng
    size = (canvas.width // OVERSAMPLING, canvas.height // OVERSAMPLING)
    image = cv2.resize(canvas.image, size, interpolation=cv2.INTER_AREA)
    image = cv2.GaussianBlur(image, (3, 3), rng.uniform(0.2, 0.5))
    image = np.clip(image, 0, 1) ** rng.uniform(0.85, 1.3)
    image *= rng.uniform(0.6, 1.1) * rng.uniform(0.93, 1.07, 3)
    image += rng.normal(0, rng.uniform(0.005, 0.02), image.shape)
    labels = canvas.labels[::OVERSAMPLING, ::OVERSAMPLING]
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8), labels


def draw_scene(height: int, width: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw one scene: picture (height x width x 3, uint8, RGB) and labels (height x width)."""
    canvas = Canvas(height, width, rng)
    road, facade = rng.uniform(3.2, 5), rng.uniform(6.5, 9.5)
    draw_sky(canvas)
    draw_ground(canvas, road, kerb=0.15)
    for side in (-1, 1):
        draw_row_of_buildings(canvas, side, facade)
    for _, draw in sorted(furnish(canvas, road, facade), key=lambda thing: -thing[0]):
        draw()
    if rng.random() < 0.4:
        draw_bonnet(canvas)
    return develop(canvas)


def write_split(
    out_dir: Path, split: str, count: int, size: tuple[int, int], entropy: tuple[int, int]
) -> None:
    """Write the pictures, the labels and the list of one split."""
    # Written last: where the list is, the split is whole.
    list_file = out_dir / f'{split}.txt'
    list_file.unlink(missing_ok=True)
    lines = []
    for folder in (split, f'{split}annot'):
        (out_dir / folder).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        image, labels = draw_scene(*size, np.random.default_rng([*entropy, number]))
        name = f'scene_{number:04d}.png'
        write_image(out_dir / split / name, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        write_image(out_dir / f'{split}annot' / name, labels)
        lines.append(f'{split}/{name} {split}annot/{name}\n')
    list_file.write_text(''.join(lines))


def write_image(path: Path, pixels: np.ndarray) -> None:
    """Write an image, or raise an OSError that names its file."""
    if not cv2.imwrite(str(path), pixels):
        raise OSError(f'{path} cannot be written: free some space, or name another folder')


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Draw street scenes in CamVid's layout")
    parser.add_argument('out_dir', type=Path, help='folder to write to')
    parser.add_argument('--train', type=int, default=240, help='number of training scenes')
    parser.add_argument('--val', type=int, default=60, help='number of validation scenes')
    parser.add_argument('--height', type=int, default=144, help='in pixels')
    parser.add_argument('--width', type=int, default=192, help='in pixels')
    parser.add_argument('--seed', type=int, default=0)
    add_debug_argument(parser)
    args = parser.parse_args()
    for name in ('train', 'val', 'height', 'width'):
        if getattr(args, name) < 1:
            parser.error(f'--{name} must be at least 1, got {getattr(args, name)}')
    return args


def main() -> None:
    """Write both splits."""
    args = parse_args()
    for index, split in enumerate(('train', 'val')):
        write_split(
            args.out_dir, split, getattr(args, split), (args.height, args.width), (args.seed, index)
        )


if __name__ == '__main__':
    run_tool(main)
