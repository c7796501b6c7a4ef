"""What the generator draws: the camera's geometry, CamVid's layout, the same scene each time."""

import sys

import numpy as np
import pytest
from PIL import Image

from helpers.tool_runs import TOOLS, load_tool, run
from mmseg_rmi.datasets import CamVidDataset
from mmseg_rmi.datasets.camvid import CLASSES

generator = load_tool('dataset_converters/street_scenes.py')
SIZE = (72, 96)


def canvas() -> generator.Canvas:
    return generator.Canvas(*SIZE, np.random.default_rng(0))


def draw(*entropy: int, size: tuple[int, int] = SIZE) -> tuple[np.ndarray, np.ndarray]:
    return generator.draw_scene(*size, np.random.default_rng(entropy))


@pytest.fixture(scope='module')
def many_labels() -> np.ndarray:
    return np.stack([draw(0, number, size=(144, 192))[1] for number in range(24)])


def test_what_is_as_high_as_the_camera_lies_on_the_horizon():
    view = canvas()
    for z in (3, 10, 50):
        assert view.project(1.0, generator.CAMERA_HEIGHT, z)[1] == pytest.approx(view.horizon)


def test_things_twice_as_far_look_half_as_high():
    view = canvas()

    def height(z: float) -> float:
        return view.project(0, 0, z)[1] - view.project(0, 1.8, z)[1]

    assert height(5) == pytest.approx(2 * height(10))


def test_parallel_lines_meet_in_the_vanishing_point():
    view = canvas()
    for x, y in [(-4, 0), (4, 0), (8, 9)]:
        column, row = view.project(x, y, 1e9)
        assert (column, row) == pytest.approx((view.vanishing, view.horizon), abs=1e-3)


def test_lines_never_vanish_between_pixels():
    view = canvas()
    for row in range(20, 30):
        mask = view.lines(((0, row), (view.width - 1, row), 0.01))
        step = generator.OVERSAMPLING
        assert mask[::step, ::step].any(axis=0).all()


def test_the_ring_around_an_object_alone_is_unlabelled():
    view = canvas()
    mask = view.polygon([(20, 20), (40, 20), (40, 40), (20, 40)])
    view.paint(mask, (1, 1, 1), generator.CAR)
    view.leave_unlabelled_around(mask)
    width = generator.OVERSAMPLING
    outer = np.zeros_like(mask)
    outer[20 - width : 41 + width, 20 - width : 41 + width] = True
    assert (view.labels[mask] == generator.CAR).all()
    assert (view.labels[outer & ~mask] == generator.VOID).all()
    assert (view.labels[~outer] == generator.SKY).all()


def test_a_scene_is_a_function_of_its_numbers_alone():
    image, labels = draw(0, 1, 2)
    again_image, again_labels = draw(0, 1, 2)
    np.testing.assert_array_equal(image, again_image)
    np.testing.assert_array_equal(labels, again_labels)
    assert (draw(0, 1, 3)[1] != labels).mean() > 0.1


def test_all_classes_and_unlabelled_pixels_occur(many_labels):
    assert set(np.unique(many_labels)) == set(range(len(CLASSES)))


def test_the_labels_follow_the_order_of_camvid():
    names = [name.upper().split()[0] for name in CLASSES[:-1]]
    assert [getattr(generator, name) for name in names] == list(range(11))
    assert CLASSES[generator.VOID] == 'unlabelled'


def test_poles_are_thin(many_labels):
    poles = many_labels == generator.POLE
    # Erosion by 4 to both sides leaves nothing of what is at most 8 pixels wide.
    wide = np.logical_and.reduce([poles[..., i : i - 9 or None] for i in range(9)])
    assert poles.mean() > 0.002
    assert wide.sum() < 0.2 * poles.sum()


def test_the_folder_is_a_copy_of_camvid(tmp_path):
    tool = TOOLS / 'dataset_converters' / 'street_scenes.py'
    run(sys.executable, tool, tmp_path, '--train', 3, '--val', 2, '--height', 48, '--width', 64)
    for split, count in [('train', 3), ('val', 2)]:
        dataset = CamVidDataset(f'{split}.txt', str(tmp_path), lazy_init=True, pipeline=[])
        dataset.full_init()
        assert len(dataset) == count
        item = dataset[count - 1]
        assert (
            Image.open(item['img_path']).size == Image.open(item['seg_map_path']).size == (64, 48)
        )
        assert Image.open(item['img_path']).mode == 'RGB'
        assert Image.open(item['seg_map_path']).mode == 'L'


def test_more_scenes_leave_the_first_as_they_are(tmp_path):
    for folder, count in [('few', 1), ('more', 2)]:
        generator.write_split(tmp_path / folder, 'val', count, SIZE, (0, 1))
    first = [tmp_path / folder / 'val' / 'scene_0000.png' for folder in ('few', 'more')]
    assert first[0].read_bytes() == first[1].read_bytes()


def test_a_split_that_cannot_be_written_is_told_and_has_no_list(tmp_path):
    generator.write_split(tmp_path, 'val', 1, SIZE, (0, 1))
    image = tmp_path / 'val' / 'scene_0000.png'
    image.unlink()
    image.mkdir()  # in the way
    with pytest.raises(OSError, match=f'{image} cannot be written'):
        generator.write_split(tmp_path, 'val', 1, SIZE, (0, 1))
    assert not (tmp_path / 'val.txt').exists()


def test_a_count_below_one_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['street_scenes.py', 'out', '--val', '0'])
    with pytest.raises(SystemExit):
        generator.parse_args()
    assert '--val must be at least 1, got 0' in capsys.readouterr().err
