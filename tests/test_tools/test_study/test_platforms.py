"""What cells are computed on: names, settings, and results that are kept apart."""

import json

import pytest
import torch

from helpers.study_tools import Place
from tools.study import __main__ as study
from tools.study import platforms
from tools.study.platforms import Platform, fitting_jobs, loading_options

CARD = Platform('NVIDIA H200', 'tf32')


@pytest.fixture
def place(tmp_path):
    return Place.make(tmp_path)


def test_results_of_before_there_were_platforms_ran_on_cpus():
    assert Platform.of({}) == Platform('cpu', 'float32', packed=False)
    entry = dict(device='NVIDIA H200', precision='bf16', packed=True)
    assert str(Platform.of(entry)) == 'NVIDIA H200, bf16, packed images'
    assert Platform.of(entry).folder == 'nvidia-h200-bf16-packed-images'
    assert str(Platform.of({})) == Platform.of({}).folder == ''


def test_the_platform_of_a_cpu_is_named_by_its_precision_and_its_data(tmp_path):
    assert Platform.here('cpu', None, tmp_path) == Platform()
    (tmp_path / platforms.PACKED).touch()
    assert Platform.here('cpu', 'bf16', tmp_path) == Platform('cpu', 'bf16', packed=True)


@pytest.mark.parametrize(
    ('device', 'precision', 'said'),
    [('cpu', 'tf32', 'tf32 is of NVIDIA cards'), ('cuda', None, 'needs a card that torch sees')],
)
def test_what_a_machine_lacks_is_refused(tmp_path, monkeypatch, device, precision, said):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(ValueError, match=said):
        Platform.here(device, precision, tmp_path)


def test_a_card_has_as_many_cells_as_memory_and_cores_allow(monkeypatch):
    monkeypatch.setattr(platforms, 'free_cores', lambda: list(range(16)))
    for free, jobs in [(140, 8), (20, 3), (2, 1)]:
        monkeypatch.setattr(torch.cuda, 'mem_get_info', lambda free=free: (free * 2**30, 2**40))
        assert fitting_jobs(CARD) == jobs
    assert loading_options(CARD, 4)['train_dataloader.num_workers'] == 3
    assert fitting_jobs(Platform()) == 1
    assert loading_options(Platform(), 1) == {}


def test_bfloat16_is_another_training_and_tf32_another_environment(place):
    queue = place.open()
    cell = queue.wanted[0]
    of_cpu = queue.job(cell, 1.0)
    queue.results.platform = Platform('cpu', 'bf16')
    assert queue.job(cell, 1.0).options['optim_wrapper.type'] == 'AutocastOptimWrapper'
    assert queue.job(cell, 1.0).config_hash != of_cpu.config_hash
    assert CARD.variables == {'TORCH_ALLOW_TF32_CUBLAS_OVERRIDE': '1'}
    assert Platform('NVIDIA H200').variables == {'NVIDIA_TF32_OVERRIDE': '0'}
    assert Platform().variables == {'CUDA_VISIBLE_DEVICES': ''}


def test_a_card_takes_the_rates_that_a_cpu_tuned_and_none_of_its_results(place):
    place.run()
    assert place.open().left() == []
    queue = place.open(platform=CARD)
    assert [cell.name for cell in queue.left()] == [
        'scenes/ce/seed0',
        'scenes/rmi/seed0',
        'scenes/ce-twice/seed0',
    ]
    assert queue.results.factor(queue.plan, queue.plan.cell('scenes/ce/seed0')) == 4


def test_a_card_tries_rates_that_a_cpu_has_chosen_if_they_are_named(place):
    plan = place.folder / 'plan.yaml'
    plan.write_text(f'{plan.read_text()}  - {{tune: [ce], data: scenes, factors: [9]}}\n')
    place.run(['scenes/*/lr-x[14]'])
    assert [cell.name for cell in place.open().left() if cell.tunes] == ['scenes/ce/lr-x9']
    names = ['scenes/ce/lr-x4', 'scenes/ce/lr-x9']
    left = {cell.name for cell in place.open(platform=CARD).left()}
    assert left.isdisjoint([*names, 'scenes/ce/lr-x1'])
    assert [cell.name for cell in place.open(names, platform=CARD).left()] == names


def test_the_cells_that_are_left_are_found_without_reading_the_results_again(place, monkeypatch):
    place.run()
    queue = place.open(platform=CARD)
    monkeypatch.setattr(Platform, 'of', None)
    assert len(queue.left()) == 3


def test_the_list_is_of_the_platform_that_was_asked_for(place, monkeypatch, capsys):
    place.run()
    monkeypatch.setenv('COLUMNS', '120')
    folders = {'--plan': 'plan.yaml', '--results': 'results.jsonl', '--data': 'data'}
    places = [word for key, name in folders.items() for word in (key, str(place.folder / name))]
    for precision, state in [('float32', 'done'), ('bf16', 'left, 1 of other settings')]:
        monkeypatch.setattr('sys.argv', ['study', 'list', *places, '--precision', precision])
        assert study.main() == 0
        (line,) = (line for line in capsys.readouterr().out.splitlines() if '/ce/seed0' in line)
        assert f' {state} ' in line


def test_a_network_of_one_platform_is_never_anothers(place):
    place.run()
    place.run(platform=Platform(packed=True))
    trained = [call for call in place.calls() if call.startswith('train scenes/ce/seed0')]
    assert len(trained) == 2
    lines = map(json.loads, (place.folder / 'results.jsonl').read_text().splitlines())
    packed = [line['packed'] for line in lines if line['cell'] == 'scenes/ce-twice/seed0']
    assert packed == [False, True]


def test_a_training_waits_while_another_platform_has_its_turn(place):
    place.order(**{'scenes/ce/seed0': 'fail'})
    place.run(['scenes/ce/seed0'])
    (place.folder / 'work/scenes/ce/seed0/iter_20.pth').touch()  # as far as it came
    place.order()
    place.run(['scenes/ce/seed0'], platform=Platform(packed=True))
    queue = place.open(['scenes/ce/seed0'])
    assert queue.job(queue.wanted[-1], factor=4).done == 20


def test_a_training_of_before_there_were_platforms_is_a_cpus(place):
    place.run(['scenes/ce/seed0'])
    record = place.folder / 'work/scenes/ce/seed0/run.json'
    known = json.loads(record.read_text())
    record.write_text(json.dumps({key: known[key] for key in ('config_hash', 'training')}))
    for platform, done in [(Platform(), 40), (CARD, 0)]:
        queue = place.open(['scenes/ce/seed0'], platform=platform)
        assert queue.job(queue.wanted[-1], factor=4).done == done


def test_rates_are_never_chosen_from_two_platforms(place):
    """A CPU has tried one rate and a card the other."""
    place.run(['scenes/ce/lr-x1', 'scenes/ce/lr-x4'])
    file = place.folder / 'results.jsonl'
    first, second = map(json.loads, file.read_text().splitlines())
    second |= dict(device='NVIDIA H200', precision='tf32')
    file.write_text(json.dumps(first) + '\n' + json.dumps(second) + '\n')
    for platform in (CARD, Platform()):
        queue = place.open(platform=platform)
        assert queue.results.factor(queue.plan, queue.plan.cell('scenes/ce/seed0')) is None
