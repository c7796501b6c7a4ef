"""Which images are shown, with which numbers, and what their pictures hold."""

import base64
import io
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from helpers.tool_runs import config, load_tool

tool = load_tool('analysis/compare_predictions.py')
views = load_tool('analysis/prediction_views.py')
panels = load_tool('analysis/comparison_panels.py')

A, B, C, VOID = 0, 1, 2, 255
PALETTE = [(10, 20, 30), (200, 0, 0), (0, 200, 0)]


def view(truth, **predictions) -> views.View:
    truth = np.array(truth)
    maps = {name: np.array(labels) for name, labels in predictions.items()}
    return views.View('street', np.full((*truth.shape, 3), 128, np.uint8), truth, maps)


@pytest.fixture(scope='module')
def models(scenes, tmp_path_factory) -> dict:
    """Folders of label maps: the truth with a stripe of sky, deeper from image to image or less."""
    folders = {}
    for name, depths in {'CE': [10, 20, 30, 40], 'RMI': [20, 22, 28, 10]}.items():
        folders[name] = tmp_path_factory.mktemp(name)
        for number, file in enumerate(sorted((scenes / 'valannot').iterdir())):
            labels = np.array(Image.open(file))
            labels[labels == 11] = 0
            labels[-depths[number] :] = 0
            Image.fromarray(labels).save(folders[name] / file.name)
    return folders


def options(scenes) -> dict:
    return {'test_dataloader.dataset.data_root': str(scenes)}


class TestScores:
    def test_an_image_is_scored_by_the_classes_it_holds(self):
        one = view([[A, A, A, B], [A, A, B, VOID]], model=[[A, A, C, B], [A, A, A, C]])
        counts = views.confusion(one.truth, one.predictions['model'], 3)
        # A: 4 hits, 1 miss, 1 false alarm; B: 1 hit, 1 miss; C only in the prediction.
        assert views.image_score(counts) == pytest.approx(100 * (4 / 6 + 1 / 2) / 2)
        assert views.mean_iou(counts) == pytest.approx(100 * (4 / 6 + 1 / 2 + 0) / 3)

    def test_an_image_that_is_all_void_has_no_score(self):
        one = view([[VOID]], model=[[A]])
        assert math.isnan(
            views.image_score(views.confusion(one.truth, one.predictions['model'], 3))
        )


class TestChoice:
    def kinds(self, values, each, are_gains=True) -> dict:
        found: dict = {}
        for choice in views.choose(np.array(values), each, are_gains=are_gains):
            found.setdefault(choice.kind, []).append(choice.index)
        return found

    def test_gains_medians_and_losses_are_shown_alike(self):
        gains = [3, -9, 0.1, 8, -4, 0, -0.2, 5, math.nan]
        assert self.kinds(gains, 2) == {
            'largest gain': [3, 7],
            'median': [2, 5],
            'largest loss': [1, 4],
        }

    def test_what_never_gains_is_not_called_a_gain(self):
        assert self.kinds([-3, -1, -2], 1) == {
            'smallest loss': [1],
            'median': [2],
            'largest loss': [0],
        }
        assert list(self.kinds([3, 1, 2], 1)) == ['largest gain', 'median', 'smallest gain']

    def test_no_image_is_shown_twice(self):
        assert self.kinds([1, -1], 4) == {'largest gain': [0], 'largest loss': [1]}

    def test_a_single_model_is_shown_at_its_best_and_worst(self):
        assert self.kinds([50, 90, 10], 1, are_gains=False) == {
            'highest score': [1],
            'median': [0],
            'lowest score': [2],
        }


class TestWindows:
    def test_they_hold_most_of_the_mask_and_do_not_count_twice(self):
        mask = np.zeros((20, 30), bool)
        mask[2:6, 3:8] = True  # 20 pixels
        mask[14:18, 20:24] = True  # 16
        mask[0, 29] = True
        for corner, area in zip(views.densest_windows(mask, (5, 6), 3), (20, 16, 1), strict=True):
            top, left = corner
            assert mask[top : top + 5, left : left + 6].sum() == area

    def test_what_they_hold_is_in_their_midst(self):
        mask = np.zeros((20, 30), bool)
        mask[8:11, 12:15] = True
        assert views.densest_windows(mask, (7, 9), 1) == [(6, 9)]

    def test_there_are_none_where_nothing_differs(self):
        assert views.densest_windows(np.zeros((9, 9), bool), (3, 3), 2) == []

    def test_models_differ_where_any_two_do_and_there_is_a_truth(self):
        one = view([[A, A, A, VOID]], a=[[A, B, A, A]], b=[[A, B, A, A]], c=[[A, B, C, B]])
        assert views.disagreement(one).tolist() == [[False, False, True, False]]


class TestPanels:
    def test_errors_are_marked_on_valid_pixels_alone(self):
        one = view([[A, A, VOID]], CE=[[A, B, B]])
        assert (panels.paint_errors(one, 'CE') == panels.WRONG).all(-1).tolist() == [
            [False, True, False]
        ]

    def test_sides_of_a_difference_have_their_own_colours(self):
        one = view([[A, A, A, A]], CE=[[A, B, A, B]], RMI=[[B, A, A, C]])
        found = panels.paint_difference(one)[0]
        assert tuple(found[0]) == panels.FIRST_RIGHT
        assert tuple(found[1]) == panels.LAST_RIGHT
        assert not {tuple(found[2]), tuple(found[3])} & {panels.FIRST_RIGHT, panels.LAST_RIGHT}

    def test_maps_have_the_colours_of_the_data_set(self):
        found = panels.paint(np.array([[C, VOID]]), PALETTE)
        assert found.tolist() == [[list(PALETTE[C]), list(panels.VOID_COLOUR)]]


class Images(HTMLParser):
    """Collects what a page shows and asks for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources, self.sections, self.buttons = [], 0, 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        assert tag != 'link'
        assert 'href' not in attributes
        self.sections += tag == 'section'
        self.buttons += tag == 'button'
        if tag == 'img' and 'src' in attributes:
            self.sources.append(attributes['src'])


@pytest.fixture(scope='module')
def written(scenes, models, tmp_path_factory):
    out = tmp_path_factory.mktemp('comparison')
    named = [f'{name}={folder}' for name, folder in models.items()]
    settings = [f'{key}={value}' for key, value in options(scenes).items()]
    line = [config('ce'), *named, '--out', str(out), '--each', '1', '--themes', 'light', 'dark']
    tool.main([*line, '--cfg-options', *settings])
    return [out / 'comparison.html', out / 'comparison-light.png', out / 'comparison-dark.png']


def test_the_page_needs_no_other_file(written):
    text = written[0].read_text()
    images = Images(text)
    assert images.sections == 3
    assert images.buttons == 3 * (4 + 3) + 3  # maps and errors; back, forth, light or dark
    assert not re.search(r'(?:url\(|src=")(?!data:)|https?://|@import', text)
    for source in images.sources:
        kind, _, data = source.partition(';base64,')
        assert kind in ('data:image/png', 'data:image/jpeg')
        Image.open(io.BytesIO(base64.b64decode(data))).verify()


def test_the_page_says_what_is_shown_with_the_numbers(written, scenes, models):
    """A stripe of sky costs CE least in image 0 and most in image 3, and RMI the reverse."""
    text = written[0].read_text()
    captions = re.findall(r'<h2>(.*?)</h2>', text)
    assert [caption.split(' of ')[0] for caption in captions] == [
        'largest gain',
        'median',
        'largest loss',
    ]
    names = sorted(file.stem for file in (scenes / 'val').iterdir())
    assert names[3] in captions[0]
    assert names[0] in captions[2]
    for caption in captions:
        first, last, gain = map(
            float, re.search(r'CE (\S+), RMI (\S+) \((\S+)\)', caption).groups()
        )
        assert last - first == pytest.approx(gain, abs=0.11)
    assert 'RMI has the better mIoU on 2, CE on 2 of 4 images' in text


def test_pictures_are_drawn_on_the_page_of_their_theme(written):
    light, dark = (np.asarray(Image.open(file).convert('RGB')) for file in written[1:])
    assert light.shape == dark.shape
    assert light.shape[0] > light.shape[1] > 1000
    assert tuple(light[-1, 0]) == (255, 255, 255)
    assert tuple(dark[-1, 0]) == (13, 17, 23)


def test_the_scores_are_those_of_mmseg(scenes, models, mmseg_scope):
    from helpers.label_maps import evaluate, sample

    dataset = views.open_dataset(config('ce'), options(scenes))
    scores = tool.score_images(dataset, models)
    samples = []
    for index in range(len(dataset)):
        one = views.read_view(dataset, index, models)
        samples.append(sample(one.predictions['RMI'], one.truth.astype(np.int64)))
    expected = evaluate(dict(type='IoUMetric'), samples, dataset.metainfo['classes'])['mIoU']
    assert scores.overall[1] == pytest.approx(expected, abs=0.01)


def test_one_model_and_three_are_drawn(scenes, models, tmp_path):
    dataset = views.open_dataset(config('ce'), options(scenes))
    page, picture = tool.compare(dataset, {'CE': models['CE']}, 1, tmp_path / 'one', ['light'])
    assert 'highest score of 4 images' in page.read_text()
    three = models | {'CE & <b>CRF</b>': models['CE']}
    page, wider = tool.compare(dataset, three, 1, tmp_path / 'three', ['light'])
    assert 'CE &amp; &lt;b&gt;CRF&lt;/b&gt; against CE' in page.read_text()
    assert Image.open(wider).width > Image.open(picture).width


class TestRefusals:
    @pytest.mark.parametrize(
        ('arguments', 'message'),
        [
            (['CE'], "expected NAME=FOLDER, got 'CE'"),
            (['CE=/', 'CE=/'], "two folders are called 'CE'"),
            (['CE=/not/there'], '/not/there is not a folder'),
        ],
    )
    def test_of_arguments(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            views.parse_models(arguments)

    @pytest.mark.parametrize(
        ('labels', 'message'),
        [
            (None, 'is missing: were these predictions made on another data set'),
            (np.zeros((3, 3), np.uint8), r'is \(3, 3\), the true label map \(144, 192\)'),
            (np.full((144, 192), 11, np.uint8), 'holds labels 11 to 11, .* has 11 classes'),
        ],
    )
    def test_of_predictions(self, scenes, tmp_path, labels, message):
        dataset = views.open_dataset(config('ce'), options(scenes))
        if labels is not None:
            for file in (scenes / 'val').iterdir():
                Image.fromarray(labels).save(tmp_path / f'{file.stem}.png')
        with pytest.raises(ValueError, match=message):
            views.read_view(dataset, 0, {'CE': tmp_path})

    def test_of_a_pipeline_that_loads_no_labels(self, scenes):
        no_labels = options(scenes) | {
            'test_dataloader.dataset.pipeline': [dict(type='LoadImageFromFile')]
        }
        with pytest.raises(ValueError, match='needs LoadImageFromFile and LoadAnnotations'):
            views.open_dataset(config('ce'), no_labels)


def test_labels_saved_one_higher_are_read_one_lower(tmp_path):
    """So mmseg saves predictions of data sets with reduce_zero_label."""
    Image.fromarray(np.array([[1, 3]], np.uint8)).save(tmp_path / 'a.png')

    class Dataset:
        metainfo = dict(classes=('x', 'y', 'z'))

    assert views.read_prediction(tmp_path / 'a.png', (1, 2), 1, Dataset).tolist() == [[0, 2]]
