"""What the benchmarks share: running a command and keeping what it cost, and what they need to be installed."""
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
SUPPORT = ROOT / 'tests/support'


def say(text):
    print(f'[{time.strftime("%H:%M:%S")}] {text}', file=sys.stderr, flush=True)


def timed(command, env, cwd=None):
    """Runs a command to its end: seconds, CPU seconds, and the most memory of any of its processes in MiB."""
    os.sync()
    start = time.monotonic()
    process = subprocess.Popen(command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f'exit code {process.returncode}: {" ".join(map(str, command))}')
    return {'wall': wall, 'cpu': usage.ru_utime + usage.ru_stime, 'rss': usage.ru_maxrss / 1024}


def machine(data):
    """One line: the command, the commit, and the machine."""
    model = next((line.split(':')[1].strip() for line in open('/proc/cpuinfo') if line.startswith('model name')), '?')
    memory = int(open('/proc/meminfo').readline().split()[1]) / 2**20
    target = subprocess.run(['stat', '-f', '-c', '%T', data], capture_output=True, text=True).stdout.strip()
    commit = subprocess.run(['git', '-C', ROOT, 'describe', '--always', '--dirty'], capture_output=True, text=True).stdout.strip()
    command = ' '.join([f'bench/{Path(sys.argv[0]).name}', *sys.argv[1:]])
    return f'`{command}` at commit {commit}, {time.strftime("%Y-%m-%d")}: '\
           f'{os.cpu_count()} × {model}, {memory:.0f} GiB, Linux {platform.release()}, files on {target}'


def install_awscli(data):
    """The AWS command line for the baseline, pinned by digest."""
    wanted, venv = (HERE / 'awscli.txt').read_text(), data / 'awscli'
    stamp = venv / 'installed.txt'
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.rmtree(venv, ignore_errors=True)
        subprocess.run([sys.executable, '-m', 'venv', venv], check=True)
        subprocess.run(
            [venv / 'bin/python', '-m', 'pip', 'install', '-q', '--disable-pip-version-check', '--only-binary=:all:',
             '--no-deps', '--require-hashes', '-r', HERE / 'awscli.txt'], check=True)
        stamp.write_text(wanted)
    return venv / 'bin'


def programs(option):
    """The directory with the programs to measure: the one that was given, or that of a release build of this checkout."""
    if option:
        return option.absolute()
    subprocess.run(['cargo', 'build', '--release', '--quiet', '-p', 'xcache-save', '-p', 'xcache-restore'], cwd=ROOT, check=True)
    return Path(os.environ.get('CARGO_TARGET_DIR', ROOT / 'target')) / 'release'


def data_directory(option):
    data = (option or Path(os.environ.get('CARGO_TARGET_DIR', ROOT / 'target')) / 'bench').absolute()
    data.mkdir(parents=True, exist_ok=True)
    return data


def start_server(name):
    """The endpoint of a server of tests/support."""
    up = subprocess.run([SUPPORT / 's3-server', 'up', name], check=True, capture_output=True, text=True)
    return up.stdout.strip()


def stop_servers():
    subprocess.run([SUPPORT / 's3-server', 'down'])
