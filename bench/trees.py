"""Trees to save, in two states each, and the step from one state to the next on a restored copy."""
import filecmp
import os
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


def states(workload, data, quick):
    """The two states of a workload as directories, made once and kept."""
    root = data / 'workloads' / (workload + ('-quick' if quick else ''))
    if not (root / 'ready').exists():
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        make = HERE / 'workloads' / workload
        if workload == 'ccache-like':
            files = ['--files', '2000'] if quick else []
            subprocess.run([make, root / '0', *files], check=True)
            subprocess.run(['cp', '-a', root / '0', root / '1'], check=True)
            subprocess.run([make, root / '1', '--step', '--seed', '2'], check=True)
        else:
            subprocess.run([make, root], check=True)
        (root / 'ready').touch()
    return root / '0', root / '1'


def describe(tree):
    """Number of files and of their bytes, each hard link counted once."""
    seen, size = set(), 0
    for base, _, names in os.walk(tree):
        for name in names:
            status = os.lstat(os.path.join(base, name))
            if stat.S_ISREG(status.st_mode) and status.st_ino not in seen:
                seen.add(status.st_ino)
                size += status.st_size
    return len(seen), size


def step(live, wanted):
    """Makes `live` the same as `wanted`, touching only what differs, as a build would."""
    links = {}
    for base, dirs, names in os.walk(live, topdown=False):
        other = os.path.join(wanted, os.path.relpath(base, live))
        for name in names + dirs:
            if not os.path.lexists(os.path.join(other, name)):
                path = os.path.join(base, name)
                shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)
    for base, dirs, names in os.walk(wanted):
        target = os.path.join(live, os.path.relpath(base, wanted))
        os.makedirs(target, exist_ok=True)
        for name in names + [d for d in dirs if os.path.islink(os.path.join(base, d))]:
            source, path = os.path.join(base, name), os.path.join(target, name)
            status = os.lstat(source)
            first = links.setdefault(status.st_ino, path)
            if os.path.lexists(path):
                have = os.lstat(path)
                if (have.st_mode, have.st_size, have.st_mtime_ns) == (status.st_mode, status.st_size, status.st_mtime_ns):
                    continue
                if stat.S_ISREG(have.st_mode) and have.st_size == status.st_size and same_bytes(source, path):
                    os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))
                    continue
                os.unlink(path)
            if first != path and stat.S_ISREG(status.st_mode):
                os.link(first, path)
            else:
                shutil.copy2(source, path, follow_symlinks=False)


def minimum(before, after):
    """What the change from one state to the other takes at the least: all files that are new or of other content,
    compressed together."""
    changed = []
    for base, _, names in os.walk(after):
        for name in names:
            path = os.path.join(base, name)
            relative = os.path.relpath(path, after)
            old = os.path.join(before, relative)
            status = os.lstat(path)
            if stat.S_ISREG(status.st_mode):
                is_old = os.path.isfile(old) and os.lstat(old).st_size == status.st_size and same_bytes(old, path)
                if not is_old:
                    changed.append(relative)
    with tempfile.TemporaryDirectory() as place:
        names = Path(place, 'names')
        names.write_bytes(os.fsencode('\0'.join(changed)))
        pack = 'tar -cf - -C "$1" --null -T "$2" | zstd -3 -q -o "$3"'
        together = Path(place, 'together')
        subprocess.run(['bash', '-o', 'pipefail', '-c', pack, 'bash', after, names, together], check=True)
        return len(changed), together.stat().st_size


def same_bytes(a, b):
    # Block by block: what this process once held would count as the memory of the programs that it starts.
    return filecmp.cmp(a, b, shallow=False)


def same_tree(a, b):
    """Whether names, types, sizes, modes, times and contents agree; directories' times are left out."""
    result = subprocess.run(['diff', '-r', '--no-dereference', a, b], stdout=subprocess.DEVNULL)
    if result.returncode:
        return False
    for base, _, names in os.walk(a):
        for name in names:
            x, y = os.lstat(os.path.join(base, name)), os.lstat(os.path.join(b, os.path.relpath(base, a), name))
            if x.st_mode != y.st_mode or (stat.S_ISREG(x.st_mode) and x.st_mtime_ns // 10**9 != y.st_mtime_ns // 10**9):
                return False
    return True
