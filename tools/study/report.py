"""The report of the study: tables and figures of its results."""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from tools.analysis.estimates import CONFIDENCE
from tools.analysis.figure_theme import apply_theme
from tools.study import figures, page
from tools.study.plan import Plan
from tools.study.platforms import Platform
from tools.study.repeat_tables import tabulate_repeats, tabulate_with_repeats
from tools.study.results import Entry, is_file, read_entries
from tools.study.selection import (
    BASELINE,
    Reported,
    by_platform,
    seeds_of,
    tuning_runs,
    tuning_scores,
)
from tools.study.tables import (
    tabulate_classes,
    tabulate_folds,
    tabulate_gains,
    tabulate_headline,
    tabulate_lead,
    tabulate_memory,
    tabulate_overview,
    tabulate_scores,
)
from tools.study.tuning_tables import RELEASED, tabulate_choices, tabulate_tuning

FOREST = 'forest.png'


def report(
    plan: Plan, results: Path, file: Path | None, overview: Path | None, front: Path | None
) -> list[Path]:
    """Write the tables and figures of results into pages.

    Args:
        plan: names what was run.
        results: the file or the folder of results.
        file: the page of everything, with figures beside it. If None, README.md beside a folder of
            results; or NAME.md beside a file NAME.jsonl, with figures in a folder NAME.
        overview: the page of one figure and one table, if any.
        front: the page of a few gains, if any.

    Returns:
        The pages that were written.

    Raises:
        ValueError: there is no result, or a page lacks the marks between which its part goes.
    """
    entries = read_entries(results)
    alone = file is None and is_file(results)
    written = file or (results.with_suffix('.md') if alone else results.with_name('README.md'))
    if not written.exists():
        written.write_text(f'# Results\n\n{page.BEGIN.format("report")}\n{page.END}\n')
    for shown, name in [(written, 'report'), (overview, 'overview'), (front, 'headline')]:
        if shown is not None:
            page.split(shown, name)  # before anything is drawn
    lines = write_report(entries, plan, written.parent, results.stem if alone else '')
    page.insert(lines, written, 'report')
    reports = {data: Reported(_of_cpus(entries), data, plan) for data in plan.data}
    pages = [written]
    if overview is not None:
        folder = Path(os.path.relpath(written.parent, overview.parent))
        figures.draw_forest(reports, written.parent / FOREST)
        lines = [f'![Gains on cross entropy]({folder / FOREST})', '', *tabulate_overview(reports)]
        page.insert(lines, overview, 'overview')
        pages.append(overview)
    if front is not None:
        page.insert(tabulate_headline(reports, plan), front, 'headline')
        pages.append(front)
    return pages


def _of_cpus(entries: Sequence[Entry]) -> list[Entry]:
    """Select the platform of the study's own results; other platforms have their own sections."""
    return by_platform(entries).get(Platform(), [])


def write_report(
    entries: Sequence[Entry], plan: Plan, folder: Path, figures_in: str = ''
) -> list[str]:
    """Draw the figures and return the lines of the report.

    Args:
        entries: results.
        plan: names what was run.
        folder: of the page.
        figures_in: the folder of the figures there; that of the page if empty.
    """
    apply_theme('light')
    (folder / figures_in).mkdir(exist_ok=True)
    lines = [
        f'{len(entries)} results, the last of {max(entry["finished"] for entry in entries)[:10]}. '
        f"Means over seeds, from three on with Student's {CONFIDENCE:.0%} interval; differences "
        'are paired by seed, and bold if the interval excludes 0.',
        '',
    ]
    for platform, part in by_platform(entries).items():
        known = [data for data in plan.data if any(entry['data'] == data for entry in part)]
        for data in known:
            lines += _Section(part, data, plan, folder, figures_in, str(platform)).lines()
        if repeats := tabulate_repeats(part, plan):
            lines += ['### The same seed again', '', *repeats, '']
        if gains := tabulate_with_repeats(part, plan):
            lines += ['Differences over seeds, each the mean of its first run and its repeats:', '']
            lines += [*gains, '']
    machines = {f'{entry["machine"]}, {entry["threads"]} thread(s) a run' for entry in entries}
    versions = {', '.join(f'{k} {v}' for k, v in entry['versions'].items()) for entry in entries}
    return [*lines, f'Machines: {"; ".join(sorted(machines))}. {"; ".join(sorted(versions))}.']


class _Section:
    """All about one data set on one platform."""

    def __init__(
        self,
        entries: Sequence[Entry],
        data: str,
        plan: Plan,
        folder: Path,
        figures_in: str,
        platform: str,
    ) -> None:
        self.entries = entries
        self.plan = plan
        self.folder = folder
        self.figures_in = figures_in
        self.platform = platform
        self.reported = Reported(entries, data, plan)

    def lines(self) -> list[str]:
        """Write the tables; draw the figures."""
        where = f' ({self.platform})' if self.platform else ''
        lines = [f'### {self.reported.title}{where}', '']
        lines += self._main() if self.reported.methods() else []
        lines += self._variants() if self.reported.variants() else []
        return lines + self._choices() + self._tuning()

    def _main(self) -> list[str]:
        reported, methods = self.reported, self.reported.methods()
        lines = [*tabulate_scores(reported, methods), '']
        lines += [*tabulate_gains(reported, methods, BASELINE), '']
        by_fold = tabulate_folds(reported, methods)
        lines += [*by_fold, ''] if by_fold else []
        compared = [BASELINE]
        for method in self._leaders():
            if {method, BASELINE} < set(methods):
                compared.append(method)
                others = [other for other in methods if other not in compared]
                lines += [*tabulate_lead(reported, method, others), ''] if others else []
        lines += self._figure('seeds', 'mIoU of every run', figures.draw_seeds)
        lines += self._figure('trimap', 'trimap curves', figures.draw_trimaps)
        lines += [*tabulate_classes(reported), '']
        if reported.gainers():
            lines += self._figure('classes', 'gain of each class', figures.draw_classes)
        return [*lines, *tabulate_memory(reported), '']

    def _leaders(self) -> Iterable[str]:
        """List methods to compare with all others: as released, and those in front."""
        return dict.fromkeys([RELEASED, *self.plan.front.get(self.reported.data, ())])

    def _variants(self) -> list[str]:
        variants = self.reported.variants()
        return [
            "Settings of RMI, one changed at a time, at RMI's learning rate:",
            '',
            *tabulate_scores(self.reported, variants),
            '',
            *tabulate_gains(self.reported, variants, RELEASED),
            '',
        ]

    def _choices(self) -> list[str]:
        choices = tabulate_choices(self.entries, self.reported.data, self.plan)
        if not choices:
            return []
        return [
            'Settings of RMI, one changed at a time, at half the schedule on the tuning seed; each '
            'is compared with the run of RMI as released that is nearest in time:',
            '',
            *choices,
            '',
        ]

    def _tuning(self) -> list[str]:
        data = self.reported.data
        runs = tuning_runs(self.entries, data)
        scores = tuning_scores(runs, self.plan)
        if not scores:
            return []
        seeds = seeds_of(runs)
        lines = [f'Tuning, at half the schedule, not on reported seeds (mIoU, {seeds}):', '']
        lines += [*tabulate_tuning(scores, self.plan, data), '']
        if sum(len(found) > 1 for found in scores.values()) > 1:
            lines += self._figure(
                'tuning',
                'mIoU by learning rate',
                lambda _, file: figures.draw_tuning(scores, seeds, self.plan, file),
            )
        return lines

    def _figure(self, name: str, title: str, draw: Callable[[Reported, Path], None]) -> list[str]:
        parts = [self.reported.data, *self.platform.replace(',', '').split(), name]
        file = Path(self.figures_in) / f'{"-".join(parts[:-1])}_{name}.png'
        draw(self.reported, self.folder / file)
        return [f'![{title}]({file.as_posix()})', '']
