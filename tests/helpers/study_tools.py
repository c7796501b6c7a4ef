"""A small study, whose training and test tool compute nothing.

They read the arguments that the real ones get and leave the files that the real ones leave. What
they shall do beside is in the file ``orders.json`` of the data folder; what they did is in
``calls.txt`` there.
"""

import json
import time
from pathlib import Path

from rich.console import Console

from tools.study import pool
from tools.study.budget import Budget
from tools.study.monitor import Monitor
from tools.study.plan import read_plan
from tools.study.results import Results
from tools.study.runner import Runner
from tools.study.work_queue import WorkQueue, choose

TRAIN = """
import json, os, pathlib, sys, time
arguments = sys.argv[1:]
options = dict(pair.split('=', 1) for pair in arguments[arguments.index('--cfg-options') + 1 :])
work_dir = pathlib.Path(arguments[arguments.index('--work-dir') + 1])
data = pathlib.Path(options['train_dataloader.dataset.data_root']).parent
orders = json.loads((data / 'orders.json').read_text())
end = int(options['train_cfg.max_iters'])
name = '/'.join(work_dir.parts[-3:])
with (data / 'calls.txt').open('a') as calls:
    calls.write(f'train {name} x{options["optim_wrapper.optimizer.lr"]}\\n')
if hasattr(os, 'sched_getaffinity'):
    with (data / 'cores.txt').open('a') as cores:
        waiting = os.environ.get('OMP_WAIT_POLICY')
        cores.write(json.dumps([sorted(os.sched_getaffinity(0)), waiting]) + '\\n')
order = orders.get(name, '')
print(f'Iter(train) [{end // 2}/{end}]', flush=True)
if order == 'diverge':
    sys.exit('FloatingPointError: loss = nan in iteration 1')
if order == 'fail':
    sys.exit('no such file')
if order == 'hang':
    (data / 'hanging').touch()
    time.sleep(600)
(work_dir / '2026' / 'vis_data').mkdir(parents=True)
lines = [json.dumps(dict(loss=1.0, time=seconds)) for seconds in (9.0, 0.5, 0.25)]
(work_dir / '2026' / 'vis_data' / 'scalars.json').write_text('\\n'.join([*lines, '{"cut of']))
for number in (end // 2, end):  # by a clock that was set back in between
    (work_dir / f'iter_{number}.pth').touch()
    os.utime(work_dir / f'iter_{number}.pth', (0, 1000 - number))
print(f'Iter(train) [{end}/{end}]')
"""

TEST = """
import json, pathlib, sys
arguments = sys.argv[1:]
options = dict(pair.split('=', 1) for pair in arguments[arguments.index('--cfg-options') + 1 :])
assert pathlib.Path(arguments[1]).is_file()
work_dir = pathlib.Path(arguments[arguments.index('--work-dir') + 1])
data = pathlib.Path(options['test_dataloader.dataset.data_root']).parent
with (data / 'calls.txt').open('a') as calls:
    calls.write(f'test {"/".join(work_dir.parts[-4:])}\\n')
(work_dir / '2026').mkdir(parents=True)
# Rates of 2e-2 score best.
score = 50 - 1000 * abs(float(options['optim_wrapper.optimizer.lr']) - 2e-2)
metrics = dict(mIoU=score, time=0.1, data_time=0.1)
metrics['IoU.sky'] = float('nan')
metrics['batch'] = int(options.get('test_dataloader.batch_size', 1))
(work_dir / '2026' / '2026.json').write_text(json.dumps(metrics))
"""

PLAN = """
config: configs/demo/deeplabv3plus_r18-d16_1xb4-{loss}-800_{setting}.py
data: {scenes: {setting: street-scenes-144x192, folder: scenes}}
iterations: 40
tuning: {factors: [1, 4], iterations: 20, seeds: [7]}
methods:
  ce: {loss: ce}
  rmi: {loss: rmi}
  ce-twice: {run_of: ce, test_options: {test_dataloader.batch_size: 2}}
cells:
  - {tune: [ce, rmi], data: scenes}
  - {run: [ce, rmi, ce-twice], data: scenes, seeds: [0]}
"""


class Place:
    """A folder with a plan, tools and data."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    @classmethod
    def make(cls, folder: Path) -> 'Place':
        """Lay everything out."""
        for name in ('tools', 'data/scenes'):
            (folder / name).mkdir(parents=True)
        (folder / 'plan.yaml').write_text(PLAN)
        (folder / 'tools' / 'train.py').write_text(TRAIN)
        (folder / 'tools' / 'test.py').write_text(TEST)
        place = cls(folder)
        place.order()
        return place

    def order(self, **orders: str) -> None:
        """Tell the tools what to do in which run."""
        (self.folder / 'data' / 'orders.json').write_text(json.dumps(orders))

    def calls(self) -> list[str]:
        return (self.folder / 'data' / 'calls.txt').read_text().splitlines()

    def cores(self) -> list[tuple[list[int], str | None]]:
        """Cores that each training had, and how it was told to wait for them, on Linux."""
        lines = (self.folder / 'data' / 'cores.txt').read_text().splitlines()
        return [tuple(json.loads(line)) for line in lines]

    def open(self, names=(), again=False, minutes=None, clock=time.monotonic, platform=None):
        plan = read_plan(self.folder / 'plan.yaml')
        results = Results(self.folder / 'results.jsonl', platform)
        wanted = choose(plan, results, list(names), again)
        budget = Budget(minutes, on_cpu=True, clock=clock)
        return WorkQueue(plan, results, self.folder / 'work', wanted, budget)

    def run(self, names=(), again=False, jobs=1, threads=1, patience=0.0, **settings):
        queue = self.open(names, again, **settings)
        with (self.folder / 'said.txt').open('a') as said:
            monitor = Monitor(Console(file=said, width=200), queue)
            with pool.exclusive_lock(queue.work_dir, patience) as lock:
                runner = Runner(
                    self.folder / 'data',
                    self.folder / 'weights',
                    threads=threads,
                    lock=lock,
                    note=monitor.note,
                    tools=self.folder / 'tools',
                )
                pool.run_all(queue, runner, monitor, jobs)
        return queue

    def lines(self) -> dict[str, dict]:
        lines = (self.folder / 'results.jsonl').read_text().splitlines()
        return {line['cell']: line for line in map(json.loads, lines)}
