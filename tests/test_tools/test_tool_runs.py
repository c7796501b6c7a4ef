"""How the tests run tools."""

import sys

import pytest

from helpers.tool_runs import finish, start, wait_for

WAITING = """
import pathlib, subprocess, sys, time
def wait_for_ever():
    pathlib.Path(__file__).with_name('waiting').touch()
    time.sleep(600)
if sys.argv[1:]:
    wait_for_ever()
subprocess.run([sys.executable, __file__, 'child'])
"""


def test_a_run_that_hangs_fails_and_says_where_each_process_is(tmp_path):
    script = tmp_path / 'waiting.py'
    script.write_text(WAITING)
    process = start(sys.executable, script)
    wait_for(tmp_path / 'waiting', process)
    with pytest.raises(pytest.fail.Exception, match='Not over after 1 s') as caught:
        finish(process, timeout=1)
    said = str(caught.value)
    assert 'in wait_for_ever' in said
    assert said.rindex('in wait_for_ever') < said.rindex('in communicate')  # of the first process
    assert said.count('Fatal Python error: Aborted') == 2
