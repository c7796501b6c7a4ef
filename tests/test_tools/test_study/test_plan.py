"""Plans written out by hand, and results made up to choose rates from."""

import json

import pytest

from helpers.tool_runs import TOOLS
from tools.study.fingerprint import fingerprint
from tools.study.plan import Cell, read_plan
from tools.study.results import Results

PLAN = """
config: configs/demo/deeplabv3plus_r18-d16_1xb4-{loss}-800_{setting}.py
data: {scenes: {setting: street-scenes-144x192, folder: scenes}}
iterations: 40
tuning: {factors: [1, 2, 0.5], iterations: 20, seeds: [7]}
methods:
  ce: {loss: ce}
  rmi: {loss: rmi}
  rmi-df2:
    loss: rmi
    options: {model.decode_head.loss_decode.downsample_factor: 2}
    tuned_as: rmi
  ce-twice: {run_of: ce, test_options: {test_dataloader.batch_size: 2}}
cells:
  - {tune: [ce, rmi], data: scenes}
  - {run: [ce, rmi, rmi-df2, ce-twice], data: scenes, seeds: [0, 1]}
  - {run: [ce], data: scenes, seeds: [0], repeat: 1}
"""


@pytest.fixture
def plan(tmp_path):
    file = tmp_path / 'plan.yaml'
    file.write_text(PLAN)
    return read_plan(file)


@pytest.fixture
def results(tmp_path):
    return Results(tmp_path / 'results' / 'results.jsonl')


def record(plan, results, cell, factor, **metrics) -> None:
    config_hash = fingerprint(plan.config_file(cell), plan.options(cell, factor))
    results.append(dict(cell=cell.name, config_hash=config_hash, metrics=metrics))


def record_tuning(plan, results, method, scores) -> None:
    for factor, score in scores.items():
        metrics = {} if score is None else dict(mIoU=score)
        record(plan, results, Cell('scenes', method, 7, factor), factor, **metrics)


def test_cells_come_rate_by_rate_then_seed_by_seed(plan):
    assert [cell.name for cell in plan.cells] == [
        'scenes/ce/lr-x1',
        'scenes/rmi/lr-x1',
        'scenes/ce/lr-x2',
        'scenes/rmi/lr-x2',
        'scenes/ce/lr-x0.5',
        'scenes/rmi/lr-x0.5',
        'scenes/ce/seed0',
        'scenes/rmi/seed0',
        'scenes/rmi-df2/seed0',
        'scenes/ce-twice/seed0',
        'scenes/ce/seed1',
        'scenes/rmi/seed1',
        'scenes/rmi-df2/seed1',
        'scenes/ce-twice/seed1',
        'scenes/ce/seed0-repeat1',
    ]


def test_cells_that_tune_have_half_the_schedule_and_a_seed_of_their_own(plan):
    tuning, reported = plan.cell('scenes/rmi/lr-x2'), plan.cell('scenes/rmi-df2/seed1')
    # The demo's learning rate is 5e-3.
    assert plan.options(tuning, 2) == {
        'randomness.seed': 7,
        'optim_wrapper.optimizer.lr': pytest.approx(1e-2),
        'train_cfg.max_iters': 20,
        'train_cfg.val_begin': 21,
        'param_scheduler.1.end': 20,
    }
    assert plan.options(reported, 0.5) == {
        'randomness.seed': 1,
        'optim_wrapper.optimizer.lr': pytest.approx(2.5e-3),
        'train_cfg.max_iters': 40,
        'train_cfg.val_begin': 41,
        'param_scheduler.1.end': 40,
        'model.decode_head.loss_decode.downsample_factor': 2,
    }


def test_a_variant_may_be_tried_at_the_rate_of_what_it_varies(plan, tmp_path):
    file = tmp_path / 'plan.yaml'
    file.write_text(PLAN + '  - {tune: [rmi-df2], data: scenes, factors: [2]}\n')
    (added,) = set(read_plan(file).cells) - set(plan.cells)
    assert added.name == 'scenes/rmi-df2/lr-x2'
    options = plan.options(added, 2)
    assert options['model.decode_head.loss_decode.downsample_factor'] == 2
    assert (options['randomness.seed'], options['train_cfg.max_iters']) == (7, 20)


def test_a_method_that_tests_the_runs_of_another_has_its_training(plan):
    ours, theirs = plan.cell('scenes/ce-twice/seed1'), plan.cell('scenes/ce/seed1')
    assert plan.trained(ours) == theirs
    assert plan.config_file(ours) == plan.config_file(theirs)
    assert plan.options(ours, 2) == plan.options(theirs, 2)


def test_the_best_rate_is_taken_once_all_are_tried(plan, results):
    reported = plan.cell('scenes/ce/seed0')
    assert results.factor(plan, reported) is None
    record_tuning(plan, results, 'ce', {1: 50.0, 2: 52.0})
    assert results.factor(plan, reported) is None
    record_tuning(plan, results, 'ce', {0.5: 51.0})
    assert results.factor(plan, reported) == 2
    assert results.factor(plan, plan.cell('scenes/ce-twice/seed1')) == 2
    assert results.factor(plan, plan.cell('scenes/rmi/seed0')) is None


def test_of_equal_rates_the_nearest_to_the_configs_is_taken(plan, results):
    record_tuning(plan, results, 'ce', {1: 50.0, 2: 50.0, 0.5: 50.0})
    assert results.factor(plan, plan.cell('scenes/ce/seed0')) == 1


def test_a_diverged_rate_is_never_taken(plan, results):
    record_tuning(plan, results, 'ce', {1: 1.0, 2: None, 0.5: 2.0})
    assert results.factor(plan, plan.cell('scenes/ce/seed0')) == 0.5


def test_a_variant_takes_the_rate_of_its_method(plan, results):
    record_tuning(plan, results, 'rmi', {1: 50.0, 2: 51.0, 0.5: 52.0})
    assert results.factor(plan, plan.cell('scenes/rmi-df2/seed0')) == 0.5


def test_results_outlive_the_process_and_count_for_their_cell(plan, results):
    record_tuning(plan, results, 'ce', {1: 50.0})
    again = Results(results.place)
    assert again.find(plan, plan.cell('scenes/ce/lr-x1'))['metrics'] == {'mIoU': 50.0}
    assert again.find(plan, plan.cell('scenes/ce/lr-x2')) is None


def test_a_result_of_other_settings_does_not_count(plan, results):
    cell = plan.cell('scenes/ce/lr-x1')
    record(plan, results, cell, 3, mIoU=50.0)  # a rate that the plan does not have
    assert results.find(plan, cell) is None
    assert len(results.named(cell.name)) == 1


def test_the_fingerprint_forgets_places_alone(plan):
    cell = plan.cell('scenes/ce/lr-x1')
    config, options = plan.config_file(cell), plan.options(cell, 1)

    def hashed(**more):
        settings = {key.replace('__', '.'): value for key, value in more.items()}
        return fingerprint(config, {**options, **settings})

    here = hashed()
    assert len(here) == 12
    assert hashed(train_dataloader__dataset__data_root='/elsewhere') == here
    assert hashed(train_dataloader__num_workers=0) == here
    assert hashed(train_cfg__val_begin=1, train_cfg__val_interval=9) == here
    assert hashed(randomness__seed=8) != here
    assert hashed(train_dataloader__batch_size=2) != here
    assert hashed(model__decode_head__channels=32) != here


def test_every_cell_of_the_plan_of_the_project_differs_from_every_other():
    plan = read_plan(TOOLS.parent / 'configs' / 'study' / 'plan.yaml')
    results = Results(TOOLS.parent / 'docs' / 'study' / 'results')
    trained = dict.fromkeys(plan.trained(cell) for cell in plan.cells if not cell.repeat)
    rates = {cell: cell.factor or results.factor(plan, cell) or 1 for cell in trained}
    hashes = {
        fingerprint(plan.config_file(cell), plan.options(cell, rate))
        for cell, rate in rates.items()
    }
    assert len(hashes) == len(trained)
    names = [cell.name for cell in plan.cells]
    assert len(set(names)) == len(names)


def test_the_projects_latest_results_are_those_of_its_plan():
    """A change of a config that makes results stale is to be seen, and the cells run again."""
    plan = read_plan(TOOLS.parent / 'configs' / 'study' / 'plan.yaml')
    results = Results(TOOLS.parent / 'docs' / 'study' / 'results')
    latest = {entry['cell']: entry for entry in results.entries}
    del latest['camvid/rmi/lr-x16-repeat1']  # a repetition that was run beside the plan
    assert latest
    for name, entry in latest.items():
        cell = plan.cell(name)
        expected = fingerprint(plan.config_file(cell), plan.options(cell, entry['lr_factor']))
        assert entry['config_hash'] == expected, name


def test_reported_cells_of_the_project_come_after_those_that_tune_them():
    plan = read_plan(TOOLS.parent / 'configs' / 'study' / 'plan.yaml')
    for number, cell in enumerate(plan.cells):
        if not cell.tunes:
            assert set(plan.tuning_of(cell)) <= set(plan.cells[:number]), cell.name


def test_tuning_is_on_a_seed_that_is_not_reported():
    plan = read_plan(TOOLS.parent / 'configs' / 'study' / 'plan.yaml')
    for data in plan.data:
        seeds = {cell.seed for cell in plan.cells if cell.data == data and not cell.tunes}
        assert seeds.isdisjoint(plan.tuning_on(data)['seeds'])


@pytest.mark.parametrize(
    ('old', 'new', 'named'),
    [
        ('tune: [ce, rmi]', 'tune: [ce, rmy]', 'rmy'),
        ('data: scenes, s', 'data: scnes, s', 'scnes'),
        ('cells:', 'front: {scenes: [rmy]}\ncells:', 'rmy'),
        ('cells:', 'front: {scnes: [rmi]}\ncells:', 'scnes'),
        ('cells:', 'overview: [rmj]\ncells:', 'rmj'),
    ],
)
def test_a_plan_with_an_unknown_name_is_refused(tmp_path, old, new, named):
    file = tmp_path / 'plan.yaml'
    file.write_text(PLAN.replace(old, new))
    with pytest.raises(ValueError, match=rf'names {named}, which is not defined; .*the methods ce'):
        read_plan(file)


def test_an_unknown_cell_is_answered_with_its_neighbours(plan):
    with pytest.raises(ValueError, match=r"no cell 'scenes/ce/seed9'; it has .*scenes/ce/seed0"):
        plan.cell('scenes/ce/seed9')


def test_lines_of_results_are_json(plan, results):
    record_tuning(plan, results, 'ce', {1: 50.0, 2: None})
    first, second = map(json.loads, results.place.read_text().splitlines())
    assert (first['metrics'], second['metrics']) == ({'mIoU': 50.0}, {})


def test_plan_without_tuning_takes_the_rates_of_the_configs(tmp_path, results):
    lines = [line for line in PLAN.splitlines() if 'tun' not in line]
    (tmp_path / 'plan.yaml').write_text('\n'.join(lines))
    plan = read_plan(tmp_path / 'plan.yaml')
    cell = plan.cell('scenes/ce/seed0')
    assert results.factor(plan, cell) == 1.0
    assert plan.tuning_of(cell) == []


def test_options_of_a_data_set_go_before_those_of_a_method(tmp_path):
    key = 'model.decode_head.loss_decode.downsample_factor'
    line = 'data: {scenes: {setting: street-scenes-144x192, folder: scenes}}'
    changed = line.replace('scenes}}', f'scenes, options: {{{key}: 3, train_cfg.extra: 1}}}}}}')
    (tmp_path / 'plan.yaml').write_text(PLAN.replace(line, changed))
    plan = read_plan(tmp_path / 'plan.yaml')
    options = {
        name: plan.options(plan.cell(f'scenes/{name}/seed0'), 1.0) for name in ('rmi', 'rmi-df2')
    }
    assert options['rmi'][key] == 3
    assert options['rmi-df2'][key] == 2
    assert options['rmi']['train_cfg.extra'] == 1


def read_with(folder, name, settings):
    """The plan with a second data set, on which CE is tuned and reported."""
    line = 'data: {scenes: {setting: street-scenes-144x192, folder: scenes}'
    content = PLAN.replace(
        line, f'{line}, {name}: {{setting: street-scenes-144x192, folder: scenes, {settings}}}'
    )
    content += f'  - {{tune: [ce], data: {name}}}\n  - {{run: [ce], data: {name}, seeds: [1, 3]}}\n'
    (folder / 'plan.yaml').write_text(content)
    return read_plan(folder / 'plan.yaml')


def test_a_data_set_may_be_tuned_at_factors_of_its_own(tmp_path):
    plan = read_with(tmp_path, 'small', 'tuning: {factors: [4, 8]}')
    tuned = {cell.data: plan.tuning_of(cell) for cell in plan.cells if cell.method == 'ce'}
    assert [cell.factor for cell in tuned['small']] == [4, 8]
    assert {cell.factor for cell in tuned['scenes']}.isdisjoint({4, 8})
    assert set(tuned['small']) <= set(plan.cells)


def test_a_data_set_may_be_trained_on_for_longer_at_rates_tuned_on_another(tmp_path):
    plan = read_with(tmp_path, 'long', 'iterations: 80, tuned_on: scenes')
    short, long = (plan.cell(f'{data}/ce/seed1') for data in ('scenes', 'long'))
    assert (plan.iterations_of(short), plan.iterations_of(long)) == (40, 80)
    changed = dict(plan.options(long, 2).items() - plan.options(short, 2).items())
    assert changed == {
        'train_cfg.max_iters': 80,
        'train_cfg.val_begin': 81,
        'param_scheduler.1.end': 80,
    }
    assert plan.tuning_of(long) == plan.tuning_of(short)


def test_a_data_set_that_is_tuned_on_an_unknown_one_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r'long is tuned_on scnes, which is not .*scenes, long'):
        read_with(tmp_path, 'long', 'tuned_on: scnes')


def test_seeds_hold_out_all_folds_but_the_one_that_tunes(tmp_path):
    fold = 'train_dataloader.dataset.fold'
    plan = read_with(
        tmp_path, 'parts', f'folds: 3, set_to_fold: [{fold}], tuning: {{seeds: [1, 5]}}'
    )
    held_out = {cell.name: plan.options(cell, 2).get(fold) for cell in plan.cells}
    assert held_out['parts/ce/lr-x2'] == held_out['parts/ce/lr-x2-seed5'] == 0
    assert held_out['parts/ce/seed1'] == held_out['parts/ce/seed3'] == 2
    assert held_out['scenes/ce/seed0'] is None


def test_the_rate_is_that_of_the_best_mean_of_the_seeds_that_tune(tmp_path, results):
    plan = read_with(tmp_path, 'noisy', 'tuning: {factors: [1, 2], seeds: [7, 8]}')
    scores = {(1, 7): 50.0, (1, 8): 52.0, (2, 7): 54.0, (2, 8): 47.0}
    for tuner in plan.tuning_of(plan.cell('noisy/ce/seed1')):
        assert results.factor(plan, plan.cell('noisy/ce/seed1')) is None
        record(plan, results, tuner, tuner.factor, mIoU=scores[tuner.factor, tuner.seed])
    assert results.factor(plan, plan.cell('noisy/ce/seed1')) == 1


def test_a_data_set_may_take_the_rates_of_the_configs_and_hold_out_every_fold(tmp_path, results):
    fold = 'train_dataloader.dataset.fold'
    settings = f'folds: 2, set_to_fold: [{fold}], tuning: {{factors: []}}'
    plan = read_with(tmp_path, 'fixed', settings)
    reported = [cell for cell in plan.cells if cell.data == 'fixed']
    assert [cell.name for cell in reported] == ['fixed/ce/seed1', 'fixed/ce/seed3']
    assert [results.factor(plan, cell) for cell in reported] == [1.0, 1.0]
    held_out = [plan.options(plan.cell('fixed/ce/seed1'), 1.0)[fold]]
    held_out += [plan.fold(Cell('fixed', 'ce', seed)) for seed in (0, 1, 2)]
    assert held_out == [1, 0, 1, 0]
