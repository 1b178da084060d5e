"""The programs that are compared, each as command lines and environments. None of them is run here."""
import shutil
from pathlib import Path

HERE = Path(__file__).resolve().parent


class Job:
    """One job on a runner: a home of its own (so no state of another job) and the store it talks to."""

    def __init__(self, home, store, bin_dirs):
        self.home, self.store = home, store
        (home / 'tmp').mkdir(parents=True)
        path = ':'.join([*map(str, bin_dirs), '/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'])
        self.env = {
            'PATH': path, 'HOME': str(home), 'TMPDIR': str(home / 'tmp'), 'LC_ALL': 'C.UTF-8',
            'AWS_EC2_METADATA_DISABLED': 'true', **store.env,
        }


class Store:
    """Where one tool keeps its objects in one round."""

    def __init__(self, kind, place, endpoint=None):
        self.kind, self.place, self.env = kind, place, {}
        if endpoint:
            self.env = {
                'AWS_ENDPOINT_URL': endpoint, 'AWS_ACCESS_KEY_ID': 'xcachetest',
                'AWS_SECRET_ACCESS_KEY': 'xcachetestsecret', 'AWS_REGION': 'us-east-1',
                'XCACHE_TEST_BUCKET': 'xcache-test',
            }

    def is_local(self):
        return self.kind == 'local'


class Xcache:
    """Ours."""

    name, builds_on_last, restores_in_place = 'xcache', True, True

    @staticmethod
    def available(bin_dirs):
        return any((Path(d) / 'xcache-save').exists() for d in bin_dirs)

    def url(self, job):
        return f'file://{job.store.place}' if job.store.is_local() else f's3://xcache-test/{job.store.place}'

    def prepare(self, job):
        return None

    def save(self, job, tree, key):
        return ['xcache-save', '--quiet', '--store', self.url(job), '--key', key, tree], {}

    def restore(self, job, tree, key):
        return ['xcache-restore', '--quiet', '--fail-on-cache-miss', '--store', self.url(job), '--key', key, tree], {}


class Baseline:
    """The replaced bash pipeline. A later save is one in full again, as is every restore."""

    name, builds_on_last, restores_in_place = 'baseline', False, False

    @staticmethod
    def available(bin_dirs):
        return True

    def environment(self, job):
        return {'BASELINE_DIR': str(job.store.place)} if job.store.is_local() else {}

    def key(self, job, key):
        return key if job.store.is_local() else f'{job.store.place}/{key}'

    def prepare(self, job):
        return None

    def save(self, job, tree, key):
        return [HERE / 'baseline', 'save', tree, self.key(job, key)], self.environment(job)

    def restore(self, job, tree, key):
        return [HERE / 'baseline', 'restore', tree, self.key(job, key)], self.environment(job)


class Repository:
    """A backup program with the command line of restic: a repository, snapshots, tags for keys."""

    builds_on_last, restores_in_place = True, False

    @classmethod
    def available(cls, bin_dirs):
        return shutil.which(cls.name, path=':'.join(map(str, bin_dirs)) + ':/usr/local/bin:/usr/bin') is not None


class Restic(Repository):
    """The backup program of that name. Making the repository is not timed."""

    name = 'restic'

    def environment(self, job):
        endpoint = job.store.env.get('AWS_ENDPOINT_URL')
        place = job.store.place if job.store.is_local() else f's3:{endpoint}/xcache-test/{job.store.place}'
        return {'RESTIC_REPOSITORY': str(place), 'RESTIC_PASSWORD': 'bench'}

    def prepare(self, job):
        return ['restic', 'init', '--quiet'], self.environment(job)

    def save(self, job, tree, key):
        # Restored files have other inodes and ctimes; without these options all would be read again.
        script = 'cd "$1" && exec restic backup --quiet --ignore-inode --ignore-ctime --tag "$2" .'
        return ['sh', '-c', script, 'sh', tree, key], self.environment(job)

    def restore(self, job, tree, key):
        return ['restic', 'restore', '--quiet', '--tag', key, '--target', tree, 'latest'], self.environment(job)


class Rustic(Repository):
    """The same repository format, in Rust (`cargo install rustic-rs`); used if it is on the search path."""

    name = 'rustic'

    def environment(self, job):
        if job.store.is_local():
            return {'RUSTIC_REPOSITORY': str(job.store.place), 'RUSTIC_PASSWORD': 'bench'}
        return {
            'RUSTIC_REPOSITORY': 'opendal:s3', 'RUSTIC_PASSWORD': 'bench',
            'OPENDAL_BUCKET': 'xcache-test', 'OPENDAL_ROOT': f'/{job.store.place}', 'OPENDAL_REGION': 'us-east-1',
            'OPENDAL_ENDPOINT': job.store.env['AWS_ENDPOINT_URL'],
        }

    def prepare(self, job):
        return ['rustic', '--log-level', 'error', 'init'], self.environment(job)

    def save(self, job, tree, key):
        command = ['rustic', '--log-level', 'error', '--no-progress', 'backup', '--ignore-inode', '--ignore-ctime',
                   '--tag', key, '--as-path', '/', '--group-by', 'label', tree]
        return command, self.environment(job)

    def restore(self, job, tree, key):
        return ['rustic', '--log-level', 'error', '--no-progress', 'restore', '--filter-tags', key, 'latest', tree], \
            self.environment(job)


TOOLS = [Baseline(), Xcache(), Restic(), Rustic()]
