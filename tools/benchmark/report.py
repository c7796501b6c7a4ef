"""Set what was measured in relation, and write it as tables."""

from collections.abc import Iterable, Iterator
from typing import Any

from rich.table import Table

from tools.benchmark.cases import Case
from tools.benchmark.methods import STREAMED

Record = dict[str, Any]
CASE_COLUMNS = (
    '',
    'forward ms',
    'backward ms',
    'both ms',
    'time / CE',
    'extra peak MB',
    'memory / CE',
    'memory / logits',
)
LEAST_PASSES = 3  # over the logits: read forward, read backward, write the gradient


def add_ratios(records: list[Record], bandwidth: float = 0) -> None:
    """Divide by cross entropy, by the size of the logits and by the least possible time, in place.

    Args:
        records: of one run.
        bandwidth: bytes per second of a copy, if it was measured; the least time is that of three
            passes over the logits as they are given.
    """
    references = {str(r['case']): r for r in records if r['method'] == 'CE' and 'total' in r}
    for record in records:
        case = Case(**record['case'])
        reference = references.get(str(record['case']), {})
        if 'total' in record:
            record['ns_per_logit'] = 1e9 * record['total'] * _logit_size(case) / case.logit_bytes
            if 'total' in reference and 'time_to_ce' not in record:
                record['time_to_ce'] = record['total'] / reference['total']
        if 'memory' in record:
            record['memory_to_logits'] = record['memory'] / case.logit_bytes
            if reference.get('memory'):
                record['memory_to_ce'] = record['memory'] / reference['memory']
        if bandwidth and case.stage != 'step':
            record['least'] = LEAST_PASSES * case.input_bytes / bandwidth


def _logit_size(case: Case) -> int:
    return 2 if case.dtype == 'bfloat16' else 4


def one_line(record: Record) -> str:
    """Say in one line what was measured, for whoever watches."""
    if 'total' not in record:
        reason = record.get('skipped') or record['error'].splitlines()[-1]
        return f'{record["method"]}: {reason}'
    parts = [f'{record["method"]}: {_ms(record["total"])} ms']
    parts += [f'{record["time_to_ce"]:.2f} x CE'] if 'time_to_ce' in record else []
    if 'memory' in record:
        parts += [f'{_mb(record["memory"])} MB, {record["memory_to_logits"]:.2f} x logits']
    if record.get('host', 0) > record['total']:
        parts += [f'waits for its launches: {_ms(record["host"])} ms on the host']
    return ', '.join(parts)


def rich_tables(records: list[Record], caption: str) -> Iterator[Table]:
    """Draw one table per case of which memory was measured, one for all sweeps."""
    titles = dict.fromkeys(r['title'] for r in records if not r['case']['sweep'])
    for title in titles:
        header, *rows = _case_rows(r for r in records if r['title'] == title and not _swept(r))
        table = Table(*header, title=title, caption=caption)
        for row in rows:
            table.add_row(*row)
        yield table
    table = Table('sweep', 'case', 'method', 'ms', 'time / CE', title='sweeps', caption=caption)
    for r in records:
        if _swept(r) and 'total' in r:
            ratio = _ratio(r, 'time_to_ce')
            table.add_row(r['case']['sweep'], r['title'], r['method'], _ms(r['total']), ratio)
    if table.row_count:
        yield table


def _swept(record: Record) -> bool:
    return bool(record['case']['sweep'])


def _case_rows(records: Iterable[Record]) -> list[list[str]]:
    """Header and rows of one case; the least possible time where it is known."""
    rows = [list(CASE_COLUMNS)]
    least = 0.0
    for r in records:
        if 'total' not in r:
            rows.append([r['method'], *7 * ['-']])
            continue
        least = r.get('least', 0.0)
        times = [_ms(r[part]) for part in ('forward', 'backward', 'total')]
        memory = _mb(r['memory']) if 'memory' in r else '-'
        ratios = [_ratio(r, name) for name in ('time_to_ce', 'memory_to_ce', 'memory_to_logits')]
        rows.append([r['method'], *times, ratios[0], memory, *ratios[1:]])
    if least:
        rows.append([f'{LEAST_PASSES} passes over the logits', '', '', _ms(least), *4 * ['']])
    return rows


def markdown_cases(records: list[Record]) -> str:
    """Write the table of docs/cost.md: all cases, one under the other."""
    lines: list[str] = []
    for title in dict.fromkeys(r['title'] for r in records if not _swept(r)):
        rows = _case_rows(r for r in records if r['title'] == title and not _swept(r))
        if not lines:
            lines = [_markdown_row(rows[0]), _markdown_row(['---', *7 * ['---:']])]
        lines += [_markdown_row([f'**{title}**', *7 * ['']])]
        lines += [_markdown_row(row) for row in rows[1:]]
    return '\n'.join(lines)


def markdown_summary(records: list[Record]) -> str:
    """Write the README's table, RMI beside cross entropy.

    Two cases of given logits, the first head and the first training step.
    """
    header = ['', 'CE, ms', 'RMI, ms', 'time / CE', 'CE, MB', 'RMI, MB', 'memory / CE']
    lines = [_markdown_row(header), _markdown_row(['---', *6 * ['---:']])]
    wanted = {'loss': 2, 'head': 1, 'step': 1}
    for title in dict.fromkeys(r['title'] for r in records if not _swept(r)):
        found = {r['method']: r for r in records if r['title'] == title and 'total' in r}
        ce, rmi = found.get('CE'), found.get(STREAMED) or found.get('RMI')
        if ce is None or rmi is None or not wanted[ce['case']['stage']]:
            continue
        wanted[ce['case']['stage']] -= 1
        times = [_ms(ce['total']), _ms(rmi['total']), f'**{rmi["time_to_ce"]:.2f}**']
        memories = [_mb(ce['memory']), _mb(rmi['memory']), f'**{_ratio(rmi, "memory_to_ce")}**']
        lines.append(_markdown_row([title, *times, *memories]))
    return '\n'.join(lines)


def markdown_sweeps(records: list[Record]) -> str:
    """Write one row per series: nanoseconds per logit and time by cross entropy, RMI alone."""
    swept = [r for r in records if _swept(r) and r['method'] == 'RMI' and 'time_to_ce' in r]
    if not swept:
        return ''
    lines = [
        _markdown_row(['what varies', 'ns per logit', 'time / CE']),
        _markdown_row(['---', '---', '---']),
    ]
    for field in dict.fromkeys(r['case']['sweep'] for r in swept):
        series = [r for r in swept if r['case']['sweep'] == field]
        values = ' / '.join(str(r['case'][field]) for r in series)
        costs = ' / '.join(f'{r["ns_per_logit"]:.2g}' for r in series)
        ratios = ' / '.join(f'{r["time_to_ce"]:.2f}' for r in series)
        lines.append(_markdown_row([f'{field.replace("_", " ")}: {values}', costs, ratios]))
    return '\n'.join(lines)


def markdown_training(results: list[Record]) -> str:
    """Write how a real training went with each loss."""
    lines = [
        _markdown_row(['trained with', 'iterations', 'ms each', 'peak MB', 'mIoU']),
        _markdown_row(['---', *4 * ['---:']]),
    ]
    for r in results:
        cells = [r['loss'], str(r['iterations']), _ms(r['seconds']), _mb(r['memory'])]
        lines.append(_markdown_row([*cells, f'{r["mIoU"]:.2f}']))
    return '\n'.join(lines)


def markdown_parts(parts: dict[str, Record], checks: list[Record]) -> str:
    """Write which parts of a check passed, and each check of correctness that did not."""
    lines = [_markdown_row(['part', 'status', 'seconds']), _markdown_row(['---', '---', '---:'])]
    for name, part in parts.items():
        lines.append(_markdown_row([name, part['status'], str(part.get('seconds', '-'))]))
    for check in checks:
        if not check.get('passed'):
            reason = check.get('skipped') or check['note']
            lines.append(f'\n* {check["check"]}, {check["method"]}: {reason}')
    return '\n'.join(lines)


def _markdown_row(cells: Iterable[str]) -> str:
    return f'| {" | ".join(cells)} |'


def _ms(seconds: float) -> str:
    """Milliseconds, to three digits."""
    ms = 1e3 * seconds
    return f'{ms:.0f}' if ms >= 100 else f'{ms:.3g}'


def _mb(count: float) -> str:
    return f'{count / 1e6:.0f}'


def _ratio(record: Record, name: str) -> str:
    return f'{record[name]:.2f}' if name in record else '-'
