"""Networks of a study as `model-index` wants them."""

import pytest

from tools.study import metafile as tool

CONFIG = 'configs/study/unet-s5-w16_1xb6-rmi-500_drive-128x128.py'


def entry(seed: int, score: float, **more: object) -> dict:
    return {
        'stage': 'report',
        'data': 'drive',
        'config': CONFIG,
        'method': 'rmi-ridge1e-3',
        'run_of': None,
        'repeat': 0,
        'seed': seed,
        'iterations': 500,
        'metrics': {'mIoU': score, 'boundary/mIoU': score / 2},
        'machine': 'two cores',
        'peak_memory_mb': 1024 + seed,
        **more,
    }


def test_seeds_are_averaged_and_what_is_no_network_of_its_own_left_out() -> None:
    results = [
        entry(0, 70.0),
        entry(1, 80.0),
        entry(100, 1.0, stage='tuning'),
        entry(0, 2.0, repeat=1),
        entry(0, 3.0, method='rmi-crf1', run_of='rmi'),
    ]
    (model,) = tool.make_metafile(results, 'results')['Models']
    assert model['Name'] == 'unet-s5-w16_1xb6-rmi-ridge1e-3-500_drive-128x128'
    assert model['Training log'] == 'results/drive.jsonl'
    metrics = {'mIoU': 75.0, 'Boundary mIoU': 37.5, 'Seeds': 2}
    assert model['Results'] == {
        'Task': 'Semantic Segmentation',
        'Dataset': 'DRIVE',
        'Metrics': metrics,
    }
    assert model['Metadata']['Batch Size'] == 6
    assert model['Metadata']['Memory (GB)'] == 1.0


def test_config_of_another_name_is_refused() -> None:
    with pytest.raises(ValueError, match='is not named NETWORK_1xbBATCH-LOSS'):
        tool.make_metafile([entry(0, 1.0, config='configs/study/mine.py')], 'results')


def test_cards_and_cpus_do_not_mix() -> None:
    card = entry(0, 90.0, device='NVIDIA H200', precision='bf16')
    ours, theirs = tool.make_metafile([entry(0, 70.0), card], 'results')['Models']
    assert theirs['Name'] == f'{ours["Name"]} NVIDIA H200, bf16'
    assert [m['Results']['Metrics']['mIoU'] for m in (ours, theirs)] == [70.0, 90.0]


def test_results_of_before_there_were_platforms_are_of_the_same_model() -> None:
    named = entry(1, 80.0, device='cpu', precision='float32', packed=False)
    packed = entry(0, 90.0, device='cpu', precision='float32', packed=True)
    ours, theirs = tool.make_metafile([entry(0, 70.0), named, packed], 'results')['Models']
    assert ours['Results']['Metrics']['mIoU'] == 75.0
    assert theirs['Name'] == f'{ours["Name"]} packed images'


def test_data_sets_of_one_config_do_not_mix() -> None:
    results = [entry(0, 70.0), entry(0, 90.0, data='drive-folds')]
    first, second = tool.make_metafile(results, 'results')['Models']
    assert second['Name'] == first['Name'].replace('_drive-', '_drive-folds-')
    assert second['Training log'] == 'results/drive-folds.jsonl'


@pytest.mark.parametrize(
    ('scores', 'metrics'),
    [
        ([70.0, None, 80.0], {'mIoU': 75.0, 'Boundary mIoU': 37.5, 'Seeds': 3, 'Diverged': 1}),
        ([None], {'Seeds': 1, 'Diverged': 1}),
    ],
)
def test_seeds_that_diverged_are_counted_and_not_averaged(scores, metrics) -> None:
    results = [entry(seed, score or 0.0) for seed, score in enumerate(scores)]
    for result, score in zip(results, scores, strict=True):
        if score is None:
            result['metrics'] = {}
            del result['peak_memory_mb']
    (model,) = tool.make_metafile(results, 'results')['Models']
    assert model['Results']['Metrics'] == metrics
    assert ('Memory (GB)' in model['Metadata']) == (len(scores) > 1)
