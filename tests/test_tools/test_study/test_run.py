"""The study with tools that compute nothing: what is run, in which order, and what is kept."""

import io
import os
import re
import signal
import sys

import pytest
from rich.console import Console

from helpers.study_tools import PLAN, Place
from helpers.tool_runs import TIMEOUT, TOOLS, config, run, start, wait_for
from tools.study import __main__ as study
from tools.study import monitor as monitors
from tools.study import pool, requirements
from tools.study.plan import read_plan
from tools.study.results import Results
from tools.study.work_queue import WorkQueue
from tools.tool_process import Progress

TESTS = TOOLS.parent / 'tests'

# The demo's learning rate is 5e-3, so that 4 is the best factor for the tools.
ALL = [
    'train scenes/ce/lr-x1 x0.005',
    'test scenes/ce/lr-x1/test-ce',
    'train scenes/rmi/lr-x1 x0.005',
    'test scenes/rmi/lr-x1/test-rmi',
    'train scenes/ce/lr-x4 x0.02',
    'test scenes/ce/lr-x4/test-ce',
    'train scenes/rmi/lr-x4 x0.02',
    'test scenes/rmi/lr-x4/test-rmi',
    'train scenes/ce/seed0 x0.02',
    'test scenes/ce/seed0/test-ce',
    'train scenes/rmi/seed0 x0.02',
    'test scenes/rmi/seed0/test-rmi',
    'test scenes/ce/seed0/test-ce-twice',
]


@pytest.fixture
def place(tmp_path):
    return Place.make(tmp_path)


def test_all_cells_are_run_in_order_the_reported_ones_at_the_best_rate(place):
    place.run()
    assert place.calls() == ALL
    assert [line['lr_factor'] for line in place.lines().values()] == [1, 1, 4, 4, 4, 4, 4]


def test_a_line_tells_all_about_its_cell(place):
    place.run()
    line = place.lines()['scenes/ce-twice/seed0']
    assert line['metrics'] == {'mIoU': 50.0, 'IoU.sky': None, 'batch': 2}
    assert (line['stage'], line['data'], line['method']) == ('report', 'scenes', 'ce-twice')
    assert line['run_of'] == 'ce'
    assert (line['seed'], line['iterations'], line['threads']) == (0, 40, 1)
    assert line['seconds_per_iteration'] == 0.5  # the median of what the tool logs
    assert 1 < line['peak_memory_mb'] < 10_000  # Linux counts the process that forks as well
    assert line['config'] == os.path.relpath(config('ce'), TOOLS.parent)
    assert line['options']['test_dataloader.batch_size'] == 2
    assert line['config_hash'] == place.lines()['scenes/ce/seed0']['config_hash']
    assert {'torch', 'mmseg', 'mmengine', 'python'} <= set(line['versions'])
    assert 'cores' in line['machine']


def test_what_is_finished_is_not_run_again(place):
    place.run()
    place.run(jobs=2)
    assert place.calls() == ALL


def test_two_jobs_run_the_same_cells_and_never_one_folder_at_a_time(place):
    place.run(jobs=2)
    assert sorted(place.calls()) == sorted(ALL)
    calls = place.calls()
    assert calls.index('test scenes/ce/seed0/test-ce-twice') > calls.index(ALL[9])
    assert len(place.lines()) == 7


@pytest.mark.skipif(not hasattr(os, 'sched_getaffinity'), reason='needs Linux')
def test_two_jobs_keep_off_each_others_cores(place):
    mine = sorted(os.sched_getaffinity(0))
    if len(mine) < 2:
        pytest.skip('needs two cores')
    place.run(jobs=2)
    assert {tuple(cores) for cores, _ in place.cores()} == {tuple(mine[::2]), tuple(mine[1::2])}
    assert sorted(os.sched_getaffinity(0)) == mine


@pytest.mark.skipif(not hasattr(os, 'sched_getaffinity'), reason='needs Linux')
def test_threads_wait_asleep_where_they_are_more_than_cores(place, monkeypatch):
    monkeypatch.delenv('OMP_WAIT_POLICY', raising=False)
    cores = len(os.sched_getaffinity(0))
    place.run(['scenes/ce/lr-x1'], threads=cores)
    place.run(['scenes/rmi/lr-x1'], threads=cores + 1)
    assert [waiting for _, waiting in place.cores()] == [None, 'PASSIVE']


def test_jobs_in_excess_of_the_cores_have_all_of_them(monkeypatch):
    monkeypatch.setattr(pool, 'free_cores', lambda: [4, 6])
    assert pool.share_cores(2) == [[4], [6]]
    assert pool.share_cores(1) == [[4, 6]]
    assert pool.share_cores(3) == [[4, 6]] * 3


def test_a_named_cell_is_run_with_those_that_find_its_rate(place):
    place.run(['scenes/rmi/seed0'])
    assert place.calls() == [call for call in ALL if '/rmi/' in call]


def test_a_cell_is_run_again_under_a_number_of_its_own(place):
    place.run()
    for number in (1, 2):
        place.run(['scenes/rmi/seed0'], again=True)
        line = place.lines()[f'scenes/rmi/seed0-repeat{number}']
        assert (line['seed'], line['repeat'], line['lr_factor']) == (0, number, 4)
        assert line['config_hash'] == place.lines()['scenes/rmi/seed0']['config_hash']
    assert len(place.calls()) == len(ALL) + 4


def test_a_repeat_of_a_pair_that_was_stopped_goes_on_under_its_number(place):
    pair = ['scenes/ce/seed0', 'scenes/rmi/seed0']
    place.run()
    place.run(pair[:1], again=True)
    for number in (1, 2):
        place.run(pair, again=True)
        assert {f'{name}-repeat{number}' for name in pair} <= set(place.lines())
        assert len(place.calls()) == len(ALL) + 4 * number


def test_to_run_again_needs_names(place):
    with pytest.raises(ValueError, match='--again needs the names'):
        place.open(again=True)


def test_checkpoints_of_tuning_go_and_the_last_of_a_reported_run_stays(place):
    place.run()
    checkpoints = sorted(
        str(file.relative_to(place.folder)) for file in place.folder.rglob('*.pth')
    )
    assert checkpoints == [f'work/scenes/{loss}/seed0/iter_40.pth' for loss in ('ce', 'rmi')]


def test_a_test_that_was_cut_off_does_not_train_again(place):
    place.run()
    results = place.folder / 'results.jsonl'
    results.write_text(''.join(results.read_text().splitlines(keepends=True)[:-3]))
    place.run()
    assert place.calls()[len(ALL) :] == [ALL[9], ALL[11], ALL[12]]


def test_results_may_be_begun_anew_in_the_same_folder(place):
    place.run()
    (place.folder / 'results.jsonl').unlink()
    place.run()
    # Tuning has left no checkpoints; the reported networks are still there.
    trained_again = [*ALL[:8], ALL[9], *ALL[11:]]
    assert place.calls()[len(ALL) :] == trained_again


def test_a_diverged_run_is_a_result_and_its_rate_is_not_taken(place):
    place.order(**{'scenes/ce/lr-x4': 'diverge'})
    place.run()
    line = place.lines()['scenes/ce/lr-x4']
    assert line['metrics'] == {}
    assert line['diverged'] == 'FloatingPointError: loss = nan in iteration 1'
    assert place.lines()['scenes/ce/seed0']['lr_factor'] == 1
    assert place.lines()['scenes/rmi/seed0']['lr_factor'] == 4


def test_a_failed_cell_holds_up_those_alone_that_wait_for_it(place):
    place.order(**{'scenes/ce/lr-x4': 'fail'})
    opened = place.run()
    assert list(opened.failed) == ['scenes/ce/lr-x4']
    assert 'no such file' in opened.failed['scenes/ce/lr-x4']
    assert place.calls() == [*ALL[:5], *ALL[6:8], *ALL[10:12]]
    place.order()
    place.run()
    assert len(place.lines()) == 7


def test_a_study_of_which_the_first_cells_fail_at_once_is_given_up(place):
    (place.folder / 'tools' / 'train.py').write_text("import sys; sys.exit('no module')")
    assert len(place.run().failed) == 3  # of four that tune
    said = (place.folder / 'said.txt').read_text()
    assert 'the first 3 cells failed before any iteration: the study stops' in said


def test_cells_that_fail_late_do_not_end_a_study(place):
    place.order(
        **{f'scenes/{loss}/lr-x{factor}': 'fail' for loss in ('ce', 'rmi') for factor in (1, 4)}
    )
    assert len(place.run().failed) == 4


def test_a_failure_is_told_to_the_letter(place):
    message = "no [/tmp/data], try pip install '.[onedl]'"
    (place.folder / 'tools' / 'train.py').write_text(f'import sys; sys.exit({message!r})')
    place.run(['scenes/ce/lr-x1'])
    assert message in (place.folder / 'said.txt').read_text()


def test_tools_import_the_package_of_their_checkout(place, monkeypatch):
    monkeypatch.setenv('PYTHONPATH', '/elsewhere')
    told = "import os, sys; sys.exit(os.environ['PYTHONPATH'])"
    (place.folder / 'tools' / 'train.py').write_text(told)
    queue = place.run(['scenes/ce/lr-x1'])
    assert f'{TOOLS.parent}:/elsewhere' in queue.failed['scenes/ce/lr-x1']


def test_a_run_of_other_settings_is_not_gone_on_with(place):
    place.run(['scenes/ce/lr-x1'])
    plan = place.folder / 'plan.yaml'
    plan.write_text(PLAN.replace('iterations: 20', 'iterations: 10'))
    folder = place.folder / 'work' / 'scenes' / 'ce' / 'lr-x1'
    (folder / 'trace').touch()
    place.run(['scenes/ce/lr-x1'])
    assert place.calls() == ALL[:2] * 2
    assert not (folder / 'trace').exists()
    assert place.lines()['scenes/ce/lr-x1']['iterations'] == 10


def test_progress_of_each_cell_and_of_all_is_told(place):
    place.run()
    said = (place.folder / 'said.txt').read_text()
    assert 'scenes/ce/lr-x1: train 10/20  (7 cells left)' in said
    assert 'scenes/ce/seed0: starts, learning rate x 4  (3 cells left, about 0.0 h)' in said
    assert 'scenes/ce/seed0: mIoU 50.0' in said


def test_time_left_is_that_of_the_iterations_left_at_the_pace_so_far(place, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(monitors.time, 'monotonic', lambda: clock[0])
    opened, console = place.open(), Console(file=io.StringIO(), width=200)
    monitor = monitors.Monitor(console, opened)
    job = opened.job(opened.wanted[0], factor=1)
    opened.running.append(job)
    for job.done, clock[0] in [(12, 2000.0), (14, 2000.0 + 100), (16, 100 + 3600.0)]:
        monitor.note(job, Progress('train', job.done, 20))
    # 4 iterations an hour, the 12 before it resumed not among them; there are left 4 of the first
    # cell, 3 x 20 of the others that tune, 2 x 40 that train for the report.
    assert 'train 16/20  (7 cells left, about 36.0 h)' in console.file.getvalue()


@pytest.mark.parametrize('how', [signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_study_leaves_no_tool_behind_and_goes_on(place, how):
    if how == signal.SIGKILL and sys.platform != 'linux':
        pytest.skip('needs Linux, which ends the tools of a study that was killed')
    place.order(**{'scenes/rmi/lr-x1': 'hang'})
    program = f'from helpers import study_tools; study_tools.Place({str(place.folder)!r}).run()'
    process = start(sys.executable, '-c', program, PYTHONPATH=f'{TOOLS.parent}:{TESTS}')
    wait_for(place.folder / 'data' / 'hanging', process)
    with pytest.raises(ValueError, match='a study, or a run of one, is still at work'):
        place.run()
    process.send_signal(how)
    process.communicate(timeout=TIMEOUT)
    assert process.returncode != 0

    place.order()
    place.run(patience=20)  # which it would refuse, were a tool still there

    assert place.calls() == [*ALL[:3], *ALL[2:]]


def test_what_runs_when_the_time_is_over_is_stopped_and_goes_on(place):
    place.order(**{'scenes/rmi/lr-x1': 'hang'})
    hanging = place.folder / 'data' / 'hanging'
    queue = place.run(minutes=1, clock=lambda: 61.0 if hanging.exists() else 0.0)
    assert (list(place.lines()), queue.failed, queue.running) == (['scenes/ce/lr-x1'], {}, [])
    place.order()
    place.run()
    assert place.calls() == [*ALL[:3], *ALL[2:]]


def test_only_what_will_be_over_in_time_is_started(place):
    """A cell is guessed to take 25 s and one for each of the 20 iterations."""
    queue = place.run(minutes=44 / 60, clock=lambda: 0.0)
    assert not queue.results.entries
    place.run(minutes=46 / 60, clock=lambda: 0.0)
    assert len(place.lines()) == 7  # by a clock that stands still, all others take no longer


def test_cells_are_estimated_by_those_of_their_kind(place):
    queue = place.open(minutes=10, clock=lambda: 0.0)
    ce, rmi = (queue.job(cell, 1.0) for cell in queue.wanted[:2])
    budget = queue.budget
    assert budget.estimate(ce) == budget.estimate(rmi) == 25 + 20 * 1.0
    budget.learn(rmi, seconds=65.0, iterations=20)
    assert budget.estimate(rmi) == 25 + 20 * 2.0
    assert budget.estimate(ce) == 25 + 20 * 2.0  # by the slowest
    budget.learn(ce, seconds=35.0, iterations=20)
    assert budget.estimate(ce) == 25 + 20 * 0.5
    ce.done = 10
    assert budget.estimate(ce) == 25 + 10 * 0.5


def test_what_is_slowed_by_options_of_its_data_set_is_another_kind(place):
    """As are cells of one config with a batch and an image size of another recipe."""
    scenes = 'scenes: {setting: street-scenes-144x192, folder: scenes'
    large = f'large: {{{scenes.removeprefix("scenes: {")}, options: {{model.width: 64}}}}'
    plan = PLAN.replace(f'{scenes}}}', f'{scenes}}}, {large}')
    (place.folder / 'plan.yaml').write_text(plan + '  - {tune: [ce], data: large}\n')
    queue = place.open()
    small, large = (
        queue.job(queue.plan.cell(f'{data}/ce/lr-x1'), 1) for data in ('scenes', 'large')
    )
    queue.budget.learn(small, seconds=35.0, iterations=20)
    queue.budget.learn(large, seconds=425.0, iterations=20)
    assert [queue.budget.estimate(job) for job in (small, large)] == [35, 425]


def begun(place, iterations=10):
    """Leave the folder of a first cell as a study does that was killed."""
    queue = place.open(['scenes/ce/lr-x1'])
    job = queue.job(queue.wanted[0], factor=1)
    job.folder.mkdir(parents=True)
    job.write_record()
    (job.folder / f'iter_{iterations}.pth').touch()
    return job.folder


def test_what_a_killed_study_has_done_is_not_estimated_again(place):
    begun(place)
    now = {'clock': lambda: 0.0, 'minutes': 36 / 60}
    place.run(['scenes/ce/lr-x1'], **now)  # 25 s and 10 more iterations; from scratch it takes 45
    place.run(['scenes/rmi/lr-x1'], **now)
    assert list(place.lines()) == ['scenes/ce/lr-x1']


def test_the_pace_of_a_resumed_cell_is_that_of_the_iterations_since(place):
    begun(place)
    calls = place.folder / 'data' / 'calls.txt'
    queue = place.run(['scenes/ce/lr-x1'], clock=lambda: 65.0 if calls.exists() else 0.0)
    assert list(queue.budget.paces.values()) == [(65 - 25) / 10]


def test_a_folder_of_other_settings_is_no_beginning(place):
    (begun(place) / 'run.json').write_text('{"config_hash": "older"}')
    queue = place.open()
    assert queue.job(queue.wanted[0], factor=1).done == 0
    assert queue.job(queue.wanted[0], factor=4).done == 0


def test_a_record_that_was_cut_off_is_no_beginning(place):
    (begun(place) / 'run.json').write_text('{"config_ha')
    place.run(['scenes/ce/lr-x1'])
    assert place.calls() == ALL[:2]


def test_a_test_of_anothers_network_is_a_whole_training_once_that_is_gone(place):
    place.run()
    queue = place.open(clock=lambda: 0.0)
    cell = queue.plan.cell('scenes/ce-twice/seed0')
    assert queue.budget.estimate(queue.job(cell, 4)) == 25
    (place.folder / 'work/scenes/ce/seed0/iter_40.pth').unlink()
    assert queue.budget.estimate(queue.job(cell, 4)) == 25 + 40


def test_cells_are_named_by_patterns(place):
    assert [cell.name for cell in place.open(['scenes/*/lr-x4']).wanted] == [
        'scenes/ce/lr-x4',
        'scenes/rmi/lr-x4',
    ]
    with pytest.raises(ValueError, match=r"no cell that fits 'scenes/\*/seed9'"):
        place.open(['scenes/*/seed9'])


def test_missing_weights_are_answered_with_the_command_that_writes_them(place, tmp_path):
    plan = read_plan(study.PLAN)
    results = Results(tmp_path / 'none.jsonl')
    opened = WorkQueue(plan, results, tmp_path, list(plan.cells))
    with pytest.raises(
        ValueError,
        match=r'python tools/model_converters/efficientnet_lite\.py tf_efficientnet_lite0',
    ):
        study.leave_out(opened, tmp_path, tmp_path, named=True)
    for number in (0, 2):
        (tmp_path / f'tf_efficientnet_lite{number}.pth').touch()
    with pytest.raises(ValueError, match=r'no data set camvid in .*/camvid: name its parent'):
        study.leave_out(opened, tmp_path, tmp_path, named=True)
    assert opened.wanted == list(plan.cells)


def test_of_all_cells_those_that_lack_something_are_left_out_and_told(tmp_path, monkeypatch):
    monkeypatch.setattr(requirements, 'CRF_LIBRARY', 'no_such_library')
    plan = read_plan(study.PLAN)
    opened = WorkQueue(plan, Results(tmp_path / 'none.jsonl'), tmp_path, list(plan.cells))
    (tmp_path / 'tf_efficientnet_lite0.pth').touch()
    for name in ('camvid', 'drive'):
        (tmp_path / name).mkdir()
    said = study.leave_out(opened, tmp_path, tmp_path, named=False)
    data = {'camvid', 'camvid-twice', 'camvid-folds', 'drive', 'drive-cwmi'}
    assert opened.wanted == [
        cell for cell in plan.cells if cell.data in data and '-crf' not in cell.method
    ]
    for why in (
        '24 cells left out: there are no pretrained weights .*_lite2.pth',
        'cells left out: there is no data set voc2012_subset in',
        '20 cells left out: no_such_library is not installed',
    ):
        assert re.search(why, said)


def test_a_study_without_any_data_says_so_and_refuses_cells_that_were_named(
    place, monkeypatch, capsys
):
    folders = {
        '--plan': 'plan.yaml',
        '--results': 'none.jsonl',
        '--data': 'none',
        '--work-dir': 'w',
    }
    places = [word for key, name in folders.items() for word in (key, str(place.folder / name))]
    monkeypatch.setattr('sys.argv', ['study', 'run', *places])
    assert study.main() == 0
    assert '7 cells left out: there is no data set scenes in' in capsys.readouterr().out
    monkeypatch.setattr('sys.argv', ['study', 'run', 'scenes/*', *places])
    with pytest.raises(ValueError, match='there is no data set scenes in'):
        study.main()


def test_the_list_shows_every_cell_of_the_project():
    said = run(sys.executable, TOOLS / 'study', 'list', COLUMNS='200')
    for cell in read_plan(study.PLAN).cells:
        assert f' {cell.name} ' in said


@pytest.mark.parametrize('option', ['--jobs', '--threads'])
def test_no_job_and_no_thread_are_refused(monkeypatch, capsys, option):
    monkeypatch.setattr('sys.argv', ['study', 'run', option, '0'])
    with pytest.raises(SystemExit):
        study.parse_args()
    assert f'argument {option}: must be at least 1, got 0' in capsys.readouterr().err
