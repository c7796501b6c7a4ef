"""Tables of results made up so that means, intervals and best values follow by hand."""

import json
import sys
from dataclasses import replace

import pytest
from mmengine.config import Config

from helpers.tool_runs import load_tool
from tools.analysis import table_formats as formats

tables = load_tool('analysis/make_tables.py')

CE = dict(type='CrossEntropyLoss')
RMI = dict(type='RMILoss')
NAMES = {'CamVidDataset': ('sky', 'pole'), 'PascalVOCDataset': ('background', 'cat')}


def leave_test(
    folder,
    *,
    loss=CE,
    head='DeepLabV3Head',
    data='CamVidDataset',
    ious=(80.0, 20.0),
    crf=None,
    depth=101,
    time='20260101_000000',
    wrap=False,
    schedule=None,
):
    """Write what a test leaves: the metrics, and the config beside them."""
    model = dict(
        type='EncoderDecoder',
        backbone=dict(type='ResNetV1c', depth=depth),
        decode_head=dict(type=head, loss_decode=loss),
    )
    config = dict(
        model=dict(type='ProbabilityTTAModel', module=model) if wrap else model,
        test_dataloader=dict(dataset=dict(type=data)),
        test_cfg=dict(type='DenseCRFTestLoop', iterations=crf) if crf else dict(type='TestLoop'),
        train_cfg=schedule,
    )
    classes = {f'IoU.{name}': iou for name, iou in zip(NAMES[data], ious, strict=True)}
    metrics = dict(mIoU=sum(ious) / len(ious), aAcc=90.0, **classes)
    report = folder / time / f'{time}.json'
    (report.parent / 'vis_data').mkdir(parents=True)
    report.write_text(json.dumps(metrics))
    Config(config).dump(report.parent / 'vis_data' / 'config.py')
    return folder


def make(folder, *wanted, seconds=None):
    return tables.make_tables(tables.read_results([folder]), wanted, seconds)


def column(table, name, **where):
    """Texts of a column, by row label; bold ones in asterisks."""
    index = list(table.header).index(name)
    return {
        row[table.labels - 1].text: f'*{row[index].text}*' if row[index].bold else row[index].text
        for row in table.blocks[where.get('block', 0)]
    }


def test_table_4_has_all_rows_of_the_paper_and_dashes_for_what_was_not_run(tmp_path):
    leave_test(tmp_path / 'ce')
    table = make(tmp_path)['table4-CamVidDataset']
    assert column(table, 'mIoU') == {'CE': '50.00', 'CE & CRF': '-', 'Affinity': '-', 'RMI': '-'}
    assert column(table, 'mIoU', block=1) == dict.fromkeys(
        ('CE', 'CE & CRF', 'Affinity', 'RMI'), '-'
    )


def test_table_4_states_the_paper_as_printed_and_as_the_mean_of_its_columns(tmp_path):
    leave_test(tmp_path / 'ce')
    table = make(tmp_path)['table4-CamVidDataset']
    assert column(table, 'paper (as printed)')['CE'] == '58.50'
    # 88.06 79.03 10.12 91.32 73.21 72.65 41.04 39.52 79.35 42.43 54.51 sum to 671.24
    assert column(table, 'paper (mean of 11)')['CE'] == '61.02'


def test_best_of_a_column_is_bold(tmp_path):
    leave_test(tmp_path / 'ce', ious=(80.0, 20.0))
    leave_test(tmp_path / 'rmi', loss=RMI, ious=(79.0, 30.0))
    table = make(tmp_path)['table4-CamVidDataset']
    assert column(table, 'sky') == {
        'CE': '*80.00*',
        'CE & CRF': '-',
        'Affinity': '-',
        'RMI': '79.00',
    }
    assert column(table, 'pole')['RMI'] == '*30.00*'
    assert column(table, 'mIoU')['RMI'] == '*54.50*'


def test_nothing_is_bold_where_all_are_equal(tmp_path):
    leave_test(tmp_path / 'ce', ious=(80.0, 0.0))
    leave_test(tmp_path / 'rmi', loss=RMI, ious=(79.0, 0.0))
    assert set(column(make(tmp_path)['table4-CamVidDataset'], 'pole').values()) == {'0.00', '-'}


def test_several_runs_have_a_mean_and_an_interval(tmp_path):
    for seed, pole in enumerate((20.0, 21.0, 22.0)):
        leave_test(tmp_path / f'seed{seed}', ious=(80.0, pole))
    table = make(tmp_path)['table4-CamVidDataset']
    # Student's t of 2 degrees of freedom: 4.3027 * 1 / sqrt(3) = 2.48
    assert column(table, 'pole')['CE'] == '21.00 ± 2.48'


def test_runs_of_different_lengths_are_not_averaged(tmp_path):
    lengths = {'a': dict(max_iters=1000), 'b': dict(max_iters=2000), 'c': dict(max_epochs=9)}
    for sky, (name, schedule) in zip((80.0, 84.0, 88.0), lengths.items(), strict=True):
        leave_test(tmp_path / name, ious=(sky, 20.0), schedule=schedule)
    found = tables.read_results([tmp_path])
    networks = {result.backbone: result.class_values()['sky'] for result in found}
    assert networks == {
        'ResNetV1c-101, 1,000 iterations': 80.0,
        'ResNetV1c-101, 2,000 iterations': 84.0,
        'ResNetV1c-101, 9 epochs': 88.0,
    }
    leave_test(tmp_path / 'alone' / 'd', schedule=lengths['a'], depth=50)
    assert tables.read_results([tmp_path / 'alone'])[0].backbone == 'ResNetV1c-50'


def test_last_test_of_a_work_dir_counts(tmp_path):
    leave_test(tmp_path / 'ce', time='20260101_000000', ious=(10.0, 10.0))
    leave_test(tmp_path / 'ce', time='20260102_000000', ious=(80.0, 20.0))
    assert column(make(tmp_path)['table4-CamVidDataset'], 'mIoU')['CE'] == '50.00'


def leave_cell(name, pole, *, options=None, **fields):
    """A line of a study's results."""
    metrics = {'mIoU': 40 + pole / 2, 'IoU.sky': 80.0, 'IoU.pole': pole}
    loss = 'ce' if '/ce' in name else 'rmi'
    config = f'deeplabv3plus_efficientnet-lite0-d16_1xb8-{loss}-1160_camvid-240x320.py'
    entry = dict(cell=name, stage='report', repeat=0, options=options or {}, metrics=metrics)
    return json.dumps({**entry, 'config': f'configs/study/{config}', **fields})


def test_reported_runs_of_a_study_count_like_folders(tmp_path):
    crf = {'test_cfg.type': 'DenseCRFTestLoop', 'test_cfg.iterations': 5}
    lines = [
        leave_cell('camvid/ce/lr-x8', 90.0, stage='tuning'),
        leave_cell('camvid/ce/seed0', 70.0),
        leave_cell('camvid/ce/seed0', 20.0),  # in the place of the line before
        leave_cell('camvid/ce/seed1', 22.0),
        leave_cell('camvid/ce/seed0-repeat1', 90.0, repeat=1),
        leave_cell('camvid/ce-crf5/seed0', 10.0, options=crf),
        leave_cell('camvid/rmi/seed0', 30.0),
    ]
    (tmp_path / 'results.jsonl').write_text('\n\n'.join(lines) + '\n')
    table = make(tmp_path / 'results.jsonl')['table4-CamVidDataset']
    assert table.blocks[1][0][0].text == 'DeepLabv3+ EfficientNet-lite0'
    assert column(table, 'pole', block=1) == {
        'CE': '21.00',
        'CE & CRF': '10.00',
        'Affinity': '-',
        'RMI': '*30.00*',
    }


def test_a_run_that_diverged_has_no_place_in_a_mean(tmp_path):
    config = (
        'configs/study/deeplabv3plus_efficientnet-lite0-d16_1xb8-rmi-1160_voc12subset-257x257.py'
    )
    lines = [
        leave_cell('voc/rmi/seed0', 30.0, config=config),
        leave_cell('voc/rmi/seed1', 0.0, config=config, metrics={}, diverged='loss = nan'),
    ]
    (tmp_path / 'results.jsonl').write_text('\n'.join(lines))
    made = make(tmp_path / 'results.jsonl')
    assert [row[4].text for row in made['table3'].blocks[0] if row[4].text != '-'] == ['55.00']
    assert column(made['table1'], 'DeepLabv3+ EfficientNet-lite0 mIoU')['RMI'] == '55.00'


def test_row_of_the_crf_is_the_best_number_of_iterations(tmp_path):
    for iterations, pole in [(1, 20.0), (5, 24.0), (10, 22.0)]:
        leave_test(tmp_path / f'crf{iterations}', crf=iterations, ious=(80.0, pole))
    assert column(make(tmp_path)['table4-CamVidDataset'], 'pole')['CE & CRF'] == '24.00'


def test_class_mean_of_camvid_12_leaves_out_unlabelled(tmp_path, monkeypatch):
    monkeypatch.setitem(NAMES, 'CamVid12Dataset', ('sky', 'pole', 'unlabelled'))
    leave_test(tmp_path / 'ce', data='CamVid12Dataset', ious=(80.0, 20.0, 2.0))
    table = make(tmp_path)['table4-CamVid12Dataset']
    assert column(table, 'mIoU')['CE'] == '50.00'
    assert column(table, 'mIoU of 12')['CE'] == '34.00'


def test_voc_gives_methods_classes_and_settings(tmp_path):
    leave_test(tmp_path / 'ce', data='PascalVOCDataset')
    leave_test(tmp_path / 'rmi', data='PascalVOCDataset', loss=RMI, ious=(90.0, 40.0))
    made = make(tmp_path)
    assert list(made) == ['table1', 'table2', 'table3']
    methods = column(made['table1'], 'DeepLabv3 mIoU')
    assert methods['CE'] == '50.00'
    assert methods['RMI'] == '*65.00*'
    assert methods['CE & CRF-10'] == '-'
    assert column(made['table2'], 'cat')['RMI'] == '*40.00*'
    assert column(made['table2'], 'paper')['RMI'] == '78.58'


def test_settings_of_rmi_find_their_row_in_table_3(tmp_path):
    for name, more in {'df2': dict(downsample_factor=2), 'max': dict(downsample='max')}.items():
        leave_test(tmp_path / name, data='PascalVOCDataset', loss=RMI | more)
    leave_test(tmp_path / 'half', data='PascalVOCDataset', loss=RMI | dict(loss_lambda=0.3))
    table = make(tmp_path, '3')['table3']
    shown = {tuple(c.text for c in row[1:4]): row[4].text for row in table.rows()}
    assert len(shown) == 13
    assert {key for key, text in shown.items() if text != '-'} == {
        ('avg', '2', '3'),
        ('max', '4', '3'),
    }


def test_times_stand_in_table_1(tmp_path):
    leave_test(tmp_path / 'ce', data='PascalVOCDataset')
    table = make(tmp_path, seconds=lambda result: 0.25)['table1']
    index = list(table.header).index('s / image')
    row = next(row for row in table.rows() if row[0].text == 'CE')
    assert [cell.text for cell in row[index : index + 2]] == ['0.25', '0.12']


def test_own_networks_and_methods_get_rows_of_their_own(tmp_path):
    losses = [dict(type='CrossEntropyLoss'), dict(type='DiceLoss')]
    leave_test(tmp_path / 'psp', head='RMIPSPHead', loss=losses, depth=50)
    table = make(tmp_path)['table4-CamVidDataset']
    names = [block[0][0].text for block in table.blocks]
    assert names == ['DeepLabv3', 'DeepLabv3+', 'PSP ResNetV1c-50']
    assert column(table, 'mIoU', block=2)['CE + Dice'] == '50.00'


@pytest.mark.parametrize(
    ('options', 'method'),
    [
        (dict(loss=dict(type='SigmoidCrossEntropyLoss')), 'BCE'),
        (dict(loss=dict(type='AffinityFieldLoss')), 'Affinity'),
        (dict(loss=dict(type='AffinityFieldLoss', adaptive=True)), 'Affinity, adaptive'),
        (dict(loss=RMI | dict(region_size=5)), 'RMI (region_size 5)'),
        (dict(loss=[CE, RMI | dict(loss_lambda=0.0)]), 'CE + region term'),
        (dict(loss=[RMI | dict(loss_lambda=0, ridge=1.0)]), 'region term (ridge 1.0)'),
        (dict(loss=RMI, crf=1), 'RMI & CRF-1'),
        (dict(loss=None, head='RMIASPPHead'), 'RMI'),
        (dict(loss=None, head='ASPPHead'), 'CE'),
        (dict(wrap=True), 'CE, augmented'),
    ],
)
def test_method_is_read_from_the_config(tmp_path, options, method):
    leave_test(tmp_path / 'run', **options)
    [result] = tables.read_results([tmp_path])
    assert result.method == method
    assert result.network == 'DeepLabv3'


def test_scopes_and_modules_of_names_do_not_matter(tmp_path):
    """As in configs with scopes, and in what MMEngine writes of a pure-Python config."""
    leave_test(tmp_path / 'plain', loss=RMI | dict(region_size=5), crf=1, time='20260101_000001')
    (file,) = tmp_path.glob('plain/*/vis_data/config.py')
    [plain] = tables.read_results([tmp_path])
    scoped = file.read_text()
    for name, scope in (
        ('CamVidDataset', 'mmseg_rmi.datasets'),
        ('RMILoss', 'mmseg_rmi.losses'),
        ('DeepLabV3Head', 'mmseg'),
        ('ResNetV1c', 'mmseg.models'),
        ('DenseCRFTestLoop', 'mmseg'),
    ):
        scoped = scoped.replace(f"'{name}'", f"'{scope}.{name}'")
    file.write_text(scoped)
    [result] = tables.read_results([tmp_path])
    assert result.config.test_cfg.type == 'mmseg.DenseCRFTestLoop'
    assert replace(result, config=None) == replace(plain, config=None)


def test_folder_without_a_test_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r'no test in .*tools/test.py CONFIG CHECKPOINT'):
        tables.read_results([tmp_path])
    with pytest.raises(ValueError, match='is not a folder'):
        tables.read_results([tmp_path / 'missing'])
    with pytest.raises(ValueError, match=r'there is no .*missing.jsonl: python tools/study'):
        tables.read_results([tmp_path / 'missing.jsonl'])


def test_a_broken_file_of_results_is_named(tmp_path):
    leave_test(tmp_path / 'run')
    (report,) = (file for file in tmp_path.glob('**/*.json') if file.stem == file.parent.name)
    report.write_text('{"mIoU": ')
    with pytest.raises(ValueError, match=f'{report} is not whole .*: test again'):
        tables.read_results([tmp_path])
    study = tmp_path / 'results.jsonl'
    for line, complaint in (
        ('{"cell": "voc', 'not whole'),
        ('{"a": 1}', 'no result of tools/study'),
    ):
        study.write_text(f'\n{line}\n')
        with pytest.raises(ValueError, match=f'{study}, line 2, is {complaint}'):
            tables.read_results([study])


def test_formats_say_the_same(tmp_path):
    cell, table = formats.Cell, formats.Table
    made = table('A & B', ['name', 'IoU'], [[[cell('CE'), cell('1.00 ± 0.10', bold=True)]]], 'note')
    assert formats.to_markdown(made).splitlines() == [
        '**A & B**',
        '',
        '| name | IoU |',
        '| --- | ---: |',
        '| CE | **1.00 ± 0.10** |',
        '',
        'note',
    ]
    latex = formats.to_latex(made)
    assert 'CE & \\textbf{1.00 $\\pm$ 0.10} \\\\' in latex
    assert '\\caption{A \\& B. note}' in latex
    assert formats.to_csv(made).splitlines() == ['name,IoU', 'CE,1.00 ± 0.10']


def test_tables_are_printed_and_written_in_every_format(tmp_path, monkeypatch, capsys):
    leave_test(tmp_path / 'runs' / 'ce', data='PascalVOCDataset')
    monkeypatch.setattr(tables, 'seconds_per_image', lambda config, images: images / 8)
    options = ['--tables', '1', '--time', '2', '--out', str(tmp_path / 'out')]
    monkeypatch.setattr(sys, 'argv', ['make_tables.py', str(tmp_path / 'runs'), *options])
    tables.main()
    assert 'Table 1' in capsys.readouterr().out
    files = sorted((tmp_path / 'out').iterdir())
    assert [file.name for file in files] == ['table1.csv', 'table1.md', 'table1.tex']
    assert all('0.25' in file.read_text() for file in files)


def test_table_too_wide_for_a_terminal_is_turned(tmp_path):
    leave_test(tmp_path / 'ce')
    table = make(tmp_path)['table4-CamVidDataset']
    assert len(formats.to_rich(table, 200)) == 1
    first, second = formats.to_rich(table, 40)
    assert [column.header for column in first.columns] == ['', 'CE', 'CE & CRF', 'Affinity', 'RMI']
    assert first.title.endswith('DeepLabv3')
    assert second.title.endswith('DeepLabv3+')
