"""Results made up so that means, differences and intervals follow by hand."""

import dataclasses
import json
import math

import numpy as np
import pytest
import yaml
from matplotlib import pyplot as plt
from PIL import Image

from helpers.tool_runs import ROOT
from tools.analysis.estimates import Estimate
from tools.study import __main__ as study
from tools.study import figures, repeat_tables, report, selection, tables, tuning_tables
from tools.study.metafile import write_metafile
from tools.study.page import BEGIN, END, insert
from tools.study.plan import read_plan
from tools.study.results import Results, read_entries

PLAN = read_plan(study.PLAN)
PLAN = dataclasses.replace(PLAN, tuning={**PLAN.tuning, 'factors': [1, 2]})

# Of CE and RMI on three seeds; the gains are 4, 3 and 5: mean 4, standard deviation 1.
CE, RMI = (50.0, 52.0, 51.0), (54.0, 55.0, 56.0)
# Student's t with 2 degrees of freedom leaves 2.5 % above 4.3027; 4.3027 / sqrt(3) = 2.484.
HALF_WIDTH = 2.484


def entry(method, seed, score, *, data='camvid', stage='report', repeat=0, factor=1.0, **more):
    last = f'seed{seed}' if stage == 'report' else f'lr-x{factor:g}'
    suffix = f'-repeat{repeat}' if repeat else ''
    metrics = {}
    if score is not None:
        metrics = {
            'mIoU': score,
            'aAcc': 90.0,
            'boundary/mIoU': score / 2,
            **{f'trimap/mIoU.{width}': score - 10 / width for width in (1, 3, 40)},
            **{f'IoU.{name}': score + shift for shift, name in enumerate(selection.THIN)},
        }
    return {
        'cell': f'{data}/{method}/{last}{suffix}',
        'config_hash': f'{method}{seed}{factor}',
        'data': data,
        'method': method,
        'seed': seed,
        'stage': stage,
        'repeat': repeat,
        'lr_factor': factor,
        'metrics': metrics,
        'peak_memory_mb': 2000,
        'threads': 1,
        'machine': 'a laptop',
        'versions': {'torch': '2.14.1'},
        'finished': '2026-01-02T03:04:05+00:00',
        **more,
    }


@pytest.fixture
def drawn(monkeypatch):
    """The figures by the names of their files, none of which is written."""
    found = {}
    monkeypatch.setattr(figures, 'save', lambda figure, file: found.update({file.name: figure}))
    yield found
    plt.close('all')


@pytest.fixture
def entries():
    return [
        *(entry('ce', 9, score, stage='tuning', factor=f) for f, score in [(1, 40.0), (2, 41.5)]),
        *(entry('rmi', 9, score, stage='tuning', factor=f) for f, score in [(1, 45.0), (2, None)]),
        *(entry('ce', seed, score, factor=2.0) for seed, score in enumerate(CE)),
        *(entry('rmi', seed, score) for seed, score in enumerate(RMI)),
        entry('rmi', 0, 54.2, repeat=1, threads=2),
    ]


def row(lines, first, start=''):
    """Cells of a table's row, by its first cell, of the first table after ``start``."""
    begin = next(i for i, line in enumerate(lines) if start in line)
    (found, *_) = (line for line in lines[begin:] if line.startswith(f'| {first} |'))
    return [cell.strip() for cell in found.strip('| ').split('|')]


def has_row(lines, first, start, end):
    """Whether a table between two lines has such a row."""
    begin, stop = (next(i for i, line in enumerate(lines) if mark in line) for mark in (start, end))
    return any(line.startswith(f'| {first} |') for line in lines[begin:stop])


def tuned(entries):
    return selection.tuning_scores(selection.tuning_runs(entries, 'camvid'), PLAN)


def test_an_interval_is_students():
    found = Estimate.of([4.0, 3.0, 5.0])
    assert found.mean == pytest.approx(4)
    assert found.half_width == pytest.approx(HALF_WIDTH, abs=1e-3)
    assert found.is_clear


@pytest.mark.parametrize('values', [[4.0], [4.0, 4.2]])
def test_two_seeds_have_no_interval_and_nothing_clear(values):
    found = Estimate.of(values)
    assert math.isnan(found.half_width)
    assert not found.is_clear
    assert f'{found:+}' == f'{np.mean(values):+.2f}'


def test_gains_are_paired_by_seed(entries):
    reported = selection.Reported([*entries, entry('rmi', 7, 99.0)], 'camvid', PLAN)
    assert reported.gains('rmi', selection.metric('mIoU')) == {0: 4.0, 1: 3.0, 2: 5.0}


def test_the_report_holds_means_gains_intervals_and_every_seed(entries, tmp_path):
    lines = report.write_report(entries, PLAN, tmp_path)
    name, rate, score, boundary, band, thin, _, seeds = row(lines, 'CE')
    assert (name, rate, seeds) == ('CE', 'x 2', '50.00, 52.00, 51.00')
    assert (score, boundary) == ('51.00 ± 2.48', '25.50 ± 1.24')
    assert band == '47.67 ± 2.48'  # 51 - 10 / 3
    assert thin == '53.00 ± 2.48'  # 51 and the mean of 0 .. 4
    name, count, gain, boundary, *_, seeds = row(lines, 'RMI - CE')
    assert (count, gain, boundary) == ('3', '**+4.00 ± 2.48**', '**+2.00 ± 1.24**')
    assert seeds == '+4.00, +3.00, +5.00'


def test_a_class_has_its_means_and_its_gain(entries, tmp_path):
    lines = report.write_report(entries, PLAN, tmp_path)
    assert row(lines, 'bicyclist') == ['bicyclist', '55.00', '59.00', '**+4.00 ± 2.48**']


def test_every_method_of_the_headline_has_its_gain_on_each_class(entries, tmp_path, drawn):
    crf = entry('ce-crf1', 1, 53.5, run_of='ce')
    lines = report.write_report([*entries, crf, entry('bce', 0, 49.0)], PLAN, tmp_path)
    head = row(lines, 'IoU')
    assert head[-2:] == ['RMI - CE', 'CE & CRF-1 - CE']
    assert row(lines, 'bicyclist')[-2:] == ['**+4.00 ± 2.48**', '+1.50']
    (axes,) = drawn['camvid_classes.png'].axes
    _, labels = axes.get_legend_handles_labels()
    assert labels == ['RMI', 'CE & CRF-1']
    seeds = [list(line.get_xdata()) for line in axes.lines if line.get_marker() == '|']
    assert [4.0, 3.0, 5.0] in seeds
    assert [1.5] in seeds


def test_intervals_of_fewer_than_three_seeds_do_not_stretch_the_figure(entries, tmp_path, drawn):
    crf = [entry('ce-crf1', seed, score, run_of='ce') for seed, score in [(1, 53.5), (2, 70.0)]]
    report.write_report([*entries, *crf], PLAN, tmp_path)
    (axes,) = drawn['camvid_classes.png'].axes
    widths = {
        bars.get_label(): {np.ptp(b[:, 0]) for b in bars.lines[2][0].get_segments() if len(b)}
        for bars in axes.containers
    }
    assert list(widths['RMI']) == pytest.approx([2 * HALF_WIDTH] * len(widths['RMI']), abs=1e-3)
    assert widths['CE & CRF-1'] == set()


def test_the_memory_of_a_method_is_told(entries, tmp_path):
    lines = report.write_report(entries, PLAN, tmp_path)
    assert row(lines, 'RMI', start='peak MB') == ['RMI', '2000']


def test_tests_of_other_methods_networks_have_no_cost(entries, tmp_path):
    lines = report.write_report([*entries, entry('ce-crf1', 0, 49.0, run_of='ce')], PLAN, tmp_path)
    assert row(lines, 'CE & CRF-1 - CE')[2] == '-1.00'
    assert not has_row(lines, 'CE & CRF-1', start='peak MB', end='Tuning')


def test_rmi_is_set_beside_every_other_method(entries, tmp_path):
    others = [entry('ce-crf1', seed, score) for seed, score in [(0, 56.0), (1, 54.0)]]
    lines = report.write_report([*entries, *others], PLAN, tmp_path)
    _, count, gain, *_, seeds = row(lines, 'RMI - CE & CRF-1')
    assert (count, seeds) == ('2', '-2.00, +1.00')
    assert gain == '-0.50'
    assert len([line for line in lines if line.startswith('| RMI - CE |')]) == 1


def test_what_the_front_shows_is_set_beside_every_other_method(entries, tmp_path):
    others = [entry(name, seed, 52.0) for name in ('bce', 'affinity') for seed in range(3)]
    plan = dataclasses.replace(PLAN, front={'camvid': ('bce',), 'drive': ('affinity',)})
    lines = report.write_report([*entries, *others], plan, tmp_path)
    assert row(lines, 'RMI - BCE')[-1] == '+2.00, +3.00, +4.00'
    assert row(lines, 'BCE - Affinity')[-1] == '+0.00, +0.00, +0.00'
    starts = {line.split(' | ')[0].removeprefix('| ') for line in lines}
    assert not starts & {'BCE - RMI', 'Affinity - BCE'}  # each pair once, and vessels elsewhere


def test_one_curve_of_rates_is_no_figure(entries, tmp_path):
    first = [e for e in entries if e['method'] == 'ce']
    lines = report.write_report(first, PLAN, tmp_path)
    assert row(lines, 'CE', start='Tuning') == ['CE', '40.00', '**41.50**']
    assert not (tmp_path / 'camvid_tuning.png').exists()


def test_trimap_curves_are_drawn_with_their_gain(entries, tmp_path, drawn):
    report.write_report(entries, PLAN, tmp_path)
    level, gain = drawn['camvid_trimap.png'].axes
    assert [line.get_label() for line in level.lines] == ['CE', 'RMI']
    assert list(level.lines[1].get_xdata()) == [1, 3, 40]
    assert list(level.lines[1].get_ydata()) == pytest.approx([45, 55 - 10 / 3, 54.75])
    assert list(gain.lines[0].get_ydata()) == [0, 0, 0]
    assert list(gain.lines[1].get_ydata()) == pytest.approx([4, 4, 4])


def test_variants_of_rmi_are_compared_with_rmi_alone(entries, tmp_path):
    lines = report.write_report([*entries, entry('rmi-df2', 0, 53.5)], PLAN, tmp_path)
    assert row(lines, 'DF 2 - RMI')[1:3] == ['1', '-0.50']
    assert not any(line.startswith('| DF 2 - CE |') for line in lines)


def test_the_chosen_rate_is_bold_and_a_diverged_one_named(entries):
    """A rate beyond those of the plan is shown, and not taken; nor is one before all are tried."""
    more = [entry('ce', 9, 44.0, stage='tuning', factor=4)]
    more += [
        entry('bce', 9, score, stage='tuning', factor=f) for f, score in [(2, 40.0), (4, 41.0)]
    ]
    lines = tuning_tables.tabulate_tuning(tuned([*entries, *more]), PLAN, 'camvid')
    assert row(lines, 'CE') == ['CE', '40.00', '**41.50**', '44.00']
    assert row(lines, 'RMI') == ['RMI', '**45.00**', 'diverged', '-']
    assert row(lines, 'BCE') == ['BCE', '-', '40.00', '41.00']


def test_tuning_tells_of_how_many_seeds_its_values_are(entries, tmp_path, drawn):
    second = [{**e, 'cell': f'{e["cell"]}-seed10'} for e in entries if e['stage'] == 'tuning']
    for runs, seeds in [(entries, 'one seed'), ([*entries, *second], 'mean of 2 seeds')]:
        lines = report.write_report(runs, PLAN, tmp_path)
        assert f'Tuning, at half the schedule, not on reported seeds (mIoU, {seeds}):' in lines
        assert drawn['camvid_tuning.png'].axes[0].get_title() == f'half the schedule, {seeds}'


def test_a_method_of_one_rate_is_no_curve(entries, tmp_path, drawn):
    bce = entry('bce', 9, 46.0, stage='tuning', factor=2)
    lines = report.write_report([*entries, bce], PLAN, tmp_path)
    (axes,) = drawn['camvid_tuning.png'].axes
    assert [line.get_label() for line in axes.lines] == ['CE', 'RMI']
    assert list(axes.lines[0].get_ydata()) == [40.0, 41.5]
    assert math.isnan(axes.lines[1].get_ydata()[1])  # it diverged there
    assert row(lines, 'BCE', start='Tuning') == ['BCE', '-', '46.00']  # best of nothing


def test_choices_are_compared_with_rmi_at_the_same_rate(entries, tmp_path):
    """They are variants of RMI, at one rate: not rows or curves of tuning."""
    tried = [('rmi-df2', 1, 46.5), ('rmi-df2', 2, 47.0), ('rmi-r5', 1, None), ('rmi-max', 4, 40.0)]
    variants = [entry(name, 9, s, stage='tuning', factor=f) for name, f, s in tried]
    lines = report.write_report([*entries, *variants], PLAN, tmp_path)
    choices = lines[next(i for i, line in enumerate(lines) if 'Settings of RMI' in line) + 2 :]
    assert [line.split(' | ')[0].strip('| ') for line in choices[: choices.index('')]] == [
        *('', '---', 'RMI as released', 'DF 2', 'R 5', 'RMI as released', 'DF 2')
    ]
    assert row(choices, 'RMI as released')[1:3] == ['x 1', '45.00']
    assert row(choices, 'DF 2') == [
        'DF 2',
        'x 1',
        '46.50',
        '23.25',
        '43.17',
        '48.50',
        '90.00',
        '+1.50',
        '2026-01-02',
    ]
    assert row(choices, 'R 5') == ['R 5', 'x 1', *['diverged'] * 5, '-', '2026-01-02']
    assert not has_row(lines, 'DF 2', start='Tuning', end='The same seed')


def test_a_choice_is_compared_with_the_run_of_rmi_that_is_nearest_in_time(entries):
    later = dict(stage='tuning', factor=1, finished='2026-01-09T03:04:05+00:00')
    again = entry('rmi', 9, 48.0, repeat=1, **later)
    tried = [entry('rmi-df2', 9, 46.5, stage='tuning'), entry('rmi-max', 9, 46.5, **later)]
    choices = tuning_tables.tabulate_choices([*entries, again, *tried], 'camvid', PLAN)
    levels = [line.split(' | ')[2] for line in choices if 'RMI as released' in line]
    assert levels == ['45.00', '48.00']
    assert row(choices, 'DF 2')[-2:] == ['+1.50', '2026-01-02']
    assert row(choices, 'max pooling')[-2:] == ['-1.50', '2026-01-09']


def test_a_repeated_seed_stands_beside_the_first_and_changes_no_mean(entries):
    lines = repeat_tables.tabulate_repeats(entries, PLAN)
    found = row(lines, 'camvid/rmi/seed0')
    assert found[1:3] == ['54.00, 54.20', '27.00, 27.10']
    assert found[-1] == '1 and 2'
    assert not any(' - CE |' in line for line in lines)
    assert selection.Reported(entries, 'camvid', PLAN).runs['rmi'][0]['metrics']['mIoU'] == 54.0


def test_a_gain_is_shown_again_once_both_losses_are_repeated(entries):
    lines = repeat_tables.tabulate_repeats(
        [*entries, entry('ce', 0, 51.0, factor=2.0, repeat=1)], PLAN
    )
    assert row(lines, 'camvid/ce/seed0')[1] == '50.00, 51.00'
    assert row(lines, 'RMI - CE')[1] == '+4.00, +3.20'
    diverged = entry('ce', 0, None, factor=2.0, repeat=1)
    lines = repeat_tables.tabulate_repeats([*entries, diverged], PLAN)
    assert row(lines, 'RMI - CE')[1] == '+4.00, -'


def test_a_repeat_of_both_losses_refines_its_seed_and_is_none_of_its_own(entries):
    """Gains are 4 and 2, 3, 5; of the seeds 3, 3, 5: mean 11 / 3, deviation 2 / sqrt(3)."""
    assert repeat_tables.tabulate_with_repeats(entries, PLAN) == []
    lines = repeat_tables.tabulate_with_repeats(
        [*entries, entry('ce', 0, 52.2, factor=2.0, repeat=1)], PLAN
    )
    half_width = HALF_WIDTH * 2 / math.sqrt(3)
    assert row(lines, 'CamVid: RMI - CE')[1:4] == ['3', '4', f'**+3.67 ± {half_width:.2f}**']


def test_a_repeated_tuning_run_changes_no_tuning_table(entries):
    repeat = entry('ce', 9, 99.0, stage='tuning', factor=2, repeat=1)
    scores = tuned([*entries, repeat])
    assert scores['ce'] == {1: 40.0, 2: 41.5}


def test_a_repeat_of_other_settings_is_no_pair(entries):
    other = entry('ce', 0, 50.2, factor=2.0, repeat=1, config_hash='older')
    assert repeat_tables.tabulate_with_repeats([*entries, other], PLAN) == []
    assert not any(
        'camvid/ce' in line for line in repeat_tables.tabulate_repeats([*entries, other], PLAN)
    )


def test_the_latest_run_of_a_cell_counts(entries):
    reported = selection.Reported([*entries, entry('ce', 0, 60.0)], 'camvid', PLAN)
    assert reported.values('ce', selection.metric('mIoU'))[0] == 60.0


def test_a_diverged_run_is_reported_and_not_averaged(entries, tmp_path):
    lines = report.write_report([*entries, entry('bce', 0, None, diverged='x')], PLAN, tmp_path)
    assert row(lines, 'BCE')[2:] == ['-', '-', '-', '-', '-', 'diverged']


def test_every_figure_of_a_data_set_is_drawn_and_linked(entries, tmp_path):
    text = '\n'.join(report.write_report(entries, PLAN, tmp_path))
    figures = sorted(file.name for file in tmp_path.glob('*.png'))
    assert figures == [f'camvid_{name}.png' for name in ('classes', 'seeds', 'trimap', 'tuning')]
    for name in figures:
        assert f']({name})' in text
        assert np.asarray(Image.open(tmp_path / name).convert('L')).std() > 5


def test_the_page_is_written_between_its_marks_however_often(entries, tmp_path):
    page = tmp_path / 'README.md'
    first, second = (BEGIN.format(name) for name in ('first', 'second'))
    page.write_text(f'# Study\n\n{first}\nold\n{END}\n{second}\n{END}\nafter\n')
    for lines in (['one'], ['two']):
        insert(lines, page, 'first')
    insert(['three'], page, 'second')
    assert page.read_text() == (
        f'# Study\n\n{first}\n\ntwo\n\n{END}\n{second}\n\nthree\n\n{END}\nafter\n'
    )


def test_a_page_without_marks_is_refused(tmp_path):
    page = tmp_path / 'README.md'
    page.write_text('# Study\n')
    with pytest.raises(ValueError, match=r'README\.md lacks the lines .* the report goes'):
        insert(['one'], page, 'report')


def reports(entries):
    return {data: selection.Reported(entries, data, PLAN) for data in PLAN.data}


def test_the_headline_holds_gains_and_their_intervals(entries):
    more = [entry('rmi', 7, 99.0), entry('ce', 0, 60.0, data='drive')]
    more.append(entry('rmi', 0, 62.0, data='drive'))
    front = {'camvid': ('bce', 'rmi'), 'drive': ('rmi', 'bce')}
    plan = dataclasses.replace(PLAN, front=front, front_columns=('beside', 'in its place'))
    lines = tables.tabulate_headline(reports([*entries, *more]), plan)
    assert lines[0] == '|  | beside | in its place |'
    assert row(lines, 'CamVid') == ['CamVid', '-', '**+4.00 ± 2.48** (3)']
    assert len(lines) == 3  # one seed of vessels is none


def test_there_is_no_headline_without_a_pair():
    lines = tables.tabulate_headline(reports([entry('ce', 0, 50.0)]), PLAN)
    assert lines == ['No pair of runs yet.']


def test_the_overview_holds_what_has_an_interval_and_its_table_what_the_plan_chose(
    entries, tmp_path, drawn
):
    more = [entry('bce', seed, 49.0) for seed in (0, 1)]
    more += [entry('rmi-df2', seed, score - 1) for seed, score in enumerate(CE)]
    found = reports([*entries, *more])
    lines = tables.tabulate_overview(found)
    assert row(lines, 'CamVid')[1:5] == ['RMI', 'x 1', '3', '**+4.00 ± 2.48**']
    assert [line.split(' | ')[1] for line in lines[2:]] == ['RMI']
    for reported in found.values():
        reported.plan = dataclasses.replace(reported.plan, overview=())
    lines = tables.tabulate_overview(found)
    assert [line.split(' | ')[1] for line in lines[2:]] == ['RMI', 'DF 2']
    figures.draw_forest(found, tmp_path / 'forest.png')
    (axes,) = drawn['forest.png'].axes
    names = [tick.get_text() for tick in axes.get_yticklabels()]
    assert names == ['CamVid', 'RMI (3 seeds)', 'DF 2 (3 seeds)']
    low, high = axes.containers[0].lines[2][0].get_segments()[0][:, 0]
    assert (low, high) == pytest.approx((4 - HALF_WIDTH, 4 + HALF_WIDTH), abs=1e-3)


def test_gains_are_averaged_by_the_fold_that_a_seed_holds_out():
    scores = [(50.0, 51.0), (60.0, 62.0), (70.0, 69.0), (50.0, 54.0)]
    entries = [
        entry(method, seed, score, data='drive')
        for seed, pair in enumerate(scores)
        for method, score in zip(('ce', 'rmi'), pair, strict=True)
    ]
    lines = tables.tabulate_folds(reports(entries)['drive'], ['ce', 'rmi'])
    assert len(lines) == 3  # none of cross entropy itself
    assert row(lines, 'RMI - CE')[1:] == ['+2.50 (2)', '+2.00 (1)', '-1.00 (1)']
    assert tables.tabulate_folds(reports([])['camvid'], ['rmi']) == []  # which has no folds


def test_seeds_that_failed_do_not_hide_the_others(drawn, tmp_path):
    entries = [entry('ce', seed, 50.0) for seed in range(9)]
    entries += [entry('rmi', seed, 12.0 if seed == 5 else 50.0 + seed / 9) for seed in range(9)]
    figures.draw_forest(reports(entries), tmp_path / 'forest.png')
    (axes,) = drawn['forest.png'].axes
    assert axes.get_xlim()[0] > -20
    assert [text.get_text() for text in axes.texts] == ['\N{LEFTWARDS ARROW} -38']


@pytest.fixture
def results(entries, tmp_path):
    file = tmp_path / 'results.jsonl'
    file.write_text('\n\n'.join(map(json.dumps, entries)))
    return file


def call(monkeypatch, *options):
    monkeypatch.setattr('sys.argv', ['study', 'report', *map(str, options)])
    assert study.main() == 0


def test_all_pages_are_written_by_one_command(results, tmp_path, monkeypatch, capsys):
    page, front, overview = (tmp_path / f'{name}.md' for name in ('page', 'front', 'overview'))
    front.write_text(f'{BEGIN.format("headline")}\n{END}\n')
    overview.write_text(f'{BEGIN.format("overview")}\n{END}\n')
    plan = {**yaml.safe_load(study.PLAN.read_text()), 'front': {'camvid': ['rmi']}}
    plan['front_columns'] = ['RMI']
    (tmp_path / 'plan.yaml').write_text(yaml.safe_dump(plan))
    pages = ['--page', page, '--front', front, '--overview', overview]
    call(monkeypatch, '--plan', tmp_path / 'plan.yaml', '--results', results, *pages)
    assert '### CamVid' in page.read_text()
    assert '| CamVid | **+4.00 ± 2.48** (3) |' in front.read_text()
    assert '![Gains on cross entropy](forest.png)' in overview.read_text()
    assert capsys.readouterr().out.splitlines() == [str(page), str(overview), str(front)]


def test_results_of_ones_own_leave_the_front_page_of_the_project_alone(
    results, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(study, 'ROOT', tmp_path / 'project')  # which is not there
    (tmp_path / 'README.md').write_text('# The project')
    call(monkeypatch, '--results', results)
    text = (tmp_path / 'results.md').read_text()
    assert '### CamVid' in text
    assert '](results/camvid_seeds.png)' in text
    assert (tmp_path / 'results/camvid_seeds.png').exists()
    assert (tmp_path / 'README.md').read_text() == '# The project'
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / 'results.md')]


@pytest.mark.parametrize('name', ['page', 'front', 'overview'])
def test_nothing_is_drawn_before_all_pages_are_known_to_have_marks(
    results, tmp_path, monkeypatch, name
):
    page = tmp_path / 'mine.md'
    page.write_text('# Mine\n')
    with pytest.raises(ValueError, match=r'mine\.md lacks the lines'):
        call(monkeypatch, '--results', results, f'--{name}', page)
    assert not list(tmp_path.rglob('*.png'))


def test_the_pages_of_the_project_show_its_results(tmp_path, monkeypatch):
    shown = [ROOT / 'docs/study/README.md', ROOT / 'docs/study.md', ROOT / 'README.md']
    copies = [tmp_path / 'study/README.md', tmp_path / 'study.md', tmp_path / 'front.md']
    (tmp_path / 'study').mkdir()
    for copy, page in zip(copies, shown, strict=True):
        copy.write_text(page.read_text())
    monkeypatch.setattr(study, 'METAFILE', tmp_path / 'metafile.yaml')
    monkeypatch.setattr(figures, 'save', lambda figure, file: plt.close(figure))
    pages = zip(('--page', '--overview', '--front'), copies, strict=True)
    call(monkeypatch, *(argument for pair in pages for argument in pair))
    for copy, page in zip(copies, shown, strict=True):
        assert copy.read_text() == page.read_text()


def test_the_metafile_of_the_project_shows_its_results(tmp_path):
    written = tmp_path / 'metafile.yaml'
    folder = study.RESULTS.relative_to(study.ROOT)
    write_metafile(read_entries(study.RESULTS), str(folder), written)
    assert written.read_text() == study.METAFILE.read_text()


def test_results_of_cards_and_cpus_do_not_mix(entries, tmp_path):
    card = dict(device='NVIDIA H200', precision='bf16')
    theirs = [{**e, **card, 'metrics': {**e['metrics'], 'mIoU': 99.0}} for e in entries[4:8]]
    lines = report.write_report([*entries, *theirs], PLAN, tmp_path)
    ours, other = (lines.index(f'### CamVid{name}') for name in ('', ' (NVIDIA H200, bf16)'))
    assert ours < other
    assert row(lines[:other], 'RMI - CE')[2] == '**+4.00 ± 2.48**'
    assert row(lines[other:], 'CE')[2] == '99.00 ± 0.00'
    assert (tmp_path / 'camvid-NVIDIA-H200-bf16_seeds.png').exists()


def test_an_empty_file_of_results_is_refused(tmp_path):
    file = tmp_path / 'results.jsonl'
    file.write_text('\n')
    with pytest.raises(ValueError, match='holds no result yet'):
        read_entries(file)


def test_lines_are_read_back(entries, tmp_path):
    file = tmp_path / 'results.jsonl'
    file.write_text('\n'.join(map(json.dumps, entries)))
    assert read_entries(file) == entries


def test_results_may_lie_in_a_file_for_each_data_set(entries, tmp_path):
    folder = tmp_path / 'results'
    results = Results(folder)
    for entry in entries:
        results.append(entry)
    vessels = {**entries[0], 'data': 'drive', 'cell': 'drive/ce/seed0'}
    results.append(vessels)
    assert sorted(file.name for file in folder.iterdir()) == ['camvid.jsonl', 'drive.jsonl']
    assert read_entries(folder) == Results(folder).entries == [*entries, vessels]


def test_a_file_of_any_name_is_read_and_appended_to(entries, tmp_path):
    file = tmp_path / 'mine.txt'
    file.write_text(json.dumps(entries[0]) + '\n')
    Results(file).append(entries[1])
    assert read_entries(file) == entries[:2]


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r'there is no .*/missing: python tools/study run'):
        read_entries(tmp_path / 'missing')
    with pytest.raises(ValueError, match='holds no result yet'):
        read_entries(tmp_path)
    assert Results(tmp_path).entries == []
