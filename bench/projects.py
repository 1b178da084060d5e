"""Real projects to build as a CI job would: where their sources come from, what a commit changes, and what is cached.

Sources come from the registries of cargo and npm, in versions that are fixed here. What a build needs to download is
downloaded once, before anything is timed: a mirror's speed is not what is measured.
"""
import json
import os
import shutil
import subprocess
from pathlib import Path


def run(command, **options):
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, **options)


def crate(data, name, version):
    """The unpacked sources of a crate, from the registry of cargo."""
    place = data / 'crates' / f'{name}-{version}'
    if not place.exists():
        package = data / 'crates' / f'fetch-{name}'
        shutil.rmtree(package, ignore_errors=True)
        package.mkdir(parents=True)
        (package / 'lib.rs').touch()
        (package / 'Cargo.toml').write_text(
            f'[package]\nname = "fetch"\nversion = "0.0.0"\nedition = "2021"\n[lib]\npath = "lib.rs"\n'
            f'[dependencies]\n{name} = "={version}"\n[workspace]\n')
        home = cargo_home(data)
        run(['cargo', 'fetch', '--quiet'], cwd=package, env={**os.environ, 'CARGO_HOME': str(home)}, stderr=subprocess.DEVNULL)
        [source] = home.glob(f'registry/src/*/{name}-{version}*')
        shutil.copytree(source, place)
        shutil.rmtree(package)
    return place


def cargo_home(data):
    return data / 'cargo-home'


def append(path, text):
    with open(path, 'a', encoding='utf-8') as file:
        file.write(text)


class Cpp:
    """libzmq, which is C++, built by cmake with ccache."""

    name, cached = 'libzmq', ['.ccache']
    what = 'libzmq 4.3.5, 119 C++ files, `cmake` and `ccache`; cached: the directory of ccache'
    needs = ['cmake', 'ccache', 'g++', 'make']
    edited = ['ctx', 'socket_base', 'router', 'dealer', 'msg', 'pipe', 'poller_base', 'tcp', 'session_base', 'xpub', 'stream_engine_base']

    def prepare(self, data):
        return crate(data, 'zeromq-src', '0.3.6') / 'vendor'

    def edit(self, source, number):
        append(source / f'src/{self.edited[number]}.cpp', f'\nint edited_in_commit_{number} () {{ return {number}; }}\n')
        if number in (4, 8):  # a header that a tenth of the files include
            append(source / 'src/pipe.hpp', f'\nenum {{ edited_in_commit_{number}_too = {number} }};\n')

    def lock(self, number):
        return 0

    def environment(self, data, work):
        return {'CCACHE_DIR': str(work / '.ccache')}

    def build(self):
        return [
            ['cmake', '-S', '.', '-B', 'build', '-DCMAKE_BUILD_TYPE=Release', '-DZMQ_BUILD_TESTS=OFF', '-DBUILD_STATIC=OFF',
             '-DWITH_PERF_TOOL=OFF', '-DWITH_DOCS=OFF', '-DENABLE_DRAFTS=OFF',
             '-DCMAKE_C_COMPILER_LAUNCHER=ccache', '-DCMAKE_CXX_COMPILER_LAUNCHER=ccache'],
            ['cmake', '--build', 'build', '--target', 'libzmq', '--parallel', str(os.cpu_count())],
        ]


class Rust:
    """fd, a Rust program."""

    name, cached = 'fd', ['target']
    what = 'fd 10.5.0, a Rust program with its dependencies, `cargo build`; cached: `target`'
    needs = ['cargo']
    edited = ['cli', 'config', 'exit_codes', 'filesystem', 'output', 'walk', 'main', 'regex_helper', 'error', 'dir_entry', 'hyperlink']

    def prepare(self, data):
        source = crate(data, 'fd-find', '10.5.0')
        run(['cargo', 'fetch', '--quiet', '--locked'], cwd=source, env={**os.environ, 'CARGO_HOME': str(cargo_home(data))})
        return source

    def edit(self, source, number):
        append(source / f'src/{self.edited[number]}.rs', f'\n#[allow(dead_code)]\npub fn edited_in_commit_{number}() -> u32 {{ {number} }}\n')

    def lock(self, number):
        return 0

    def environment(self, data, work):
        rustup = os.environ.get('RUSTUP_HOME', str(Path.home() / '.rustup'))
        return {'CARGO_HOME': str(cargo_home(data)), 'RUSTUP_HOME': rustup, 'CARGO_NET_OFFLINE': 'true'}

    def build(self):
        return [['cargo', 'build', '--quiet', '--locked']]


class Node:
    """A bundle of TypeScript and React by webpack."""

    name, cached = 'webpack', ['node_modules']
    what = 'a React application of 80 TypeScript modules, `npm install` and `webpack` with its cache on disk; cached: `node_modules`'
    needs = ['npm', 'node']
    dependencies = {
        '@types/react': '19.1.8', '@types/react-dom': '19.1.6', 'date-fns': '4.1.0', 'lodash': '4.17.21', 'react': '19.1.0',
        'react-dom': '19.1.0', 'ts-loader': '9.5.2', 'typescript': '5.8.3', 'webpack': '5.99.9', 'webpack-cli': '6.0.1', 'zod': '3.25.67',
    }
    bumped = {'zod': '3.25.76'}

    def prepare(self, data):
        source = data / 'node-project'
        if not (source / 'ready').exists():
            shutil.rmtree(source, ignore_errors=True)
            (source / 'src').mkdir(parents=True)
            (source / 'webpack.config.js').write_text(
                "module.exports = { mode: 'production', entry: './src/index.tsx', cache: { type: 'filesystem' },\n"
                "  resolve: { extensions: ['.tsx', '.ts', '.js'] }, performance: { hints: false },\n"
                "  module: { rules: [{ test: /\\.tsx?$/, use: 'ts-loader' }] } };\n")
            (source / 'tsconfig.json').write_text(json.dumps({'compilerOptions': {
                'strict': True, 'jsx': 'react-jsx', 'module': 'esnext', 'moduleResolution': 'bundler', 'target': 'es2022',
                'skipLibCheck': True, 'types': []}}))
            (source / 'src/modules.d.ts').write_text("declare module 'lodash';\n")
            for number in range(80):
                (source / f'src/part{number}.tsx').write_text(
                    "import { format } from 'date-fns';\nimport { chunk } from 'lodash';\nimport { z } from 'zod';\n"
                    f"const shape = z.object({{ id: z.number(), name: z.string().min({number}) }});\n"
                    f"export function Part{number}() {{ const parsed = shape.safeParse({{ id: {number}, name: 'x' }});\n"
                    f"  return <p>{{format(new Date({number}), 'yyyy')}} {{chunk([1, 2, 3], 2).length}} {{String(parsed.success)}}</p>; }}\n")
            imports = ''.join(f"import {{ Part{n} }} from './part{n}';\n" for n in range(80))
            parts = ''.join(f'<Part{n} />' for n in range(80))
            (source / 'src/index.tsx').write_text(
                f"import {{ createRoot }} from 'react-dom/client';\n{imports}createRoot(document.body).render(<>{parts}</>);\n")
            for name, changes in [('after', self.bumped), ('before', {})]:
                (source / 'package.json').write_text(json.dumps(
                    {'name': 'project', 'version': '1.0.0', 'private': True, 'dependencies': {**self.dependencies, **changes}}))
                shutil.rmtree(source / 'node_modules', ignore_errors=True)
                (source / 'package-lock.json').unlink(missing_ok=True)
                run(['npm', 'install', '--silent', '--no-audit', '--no-fund'], cwd=source, env={**os.environ, **self.environment(data, source)})
                for file in ('package.json', 'package-lock.json'):
                    shutil.copy(source / file, source / f'{name}-{file}')
            shutil.rmtree(source / 'node_modules')
            (source / 'ready').touch()
        return source

    def edit(self, source, number):
        append(source / f'src/part{number * 7}.tsx', f'export const editedInCommit{number} = {number};\n')
        if self.lock(number):
            for file in ('package.json', 'package-lock.json'):
                shutil.copy(source / f'after-{file}', source / file)

    def lock(self, number):
        return int(number >= 6)  # one dependency is updated in the sixth commit

    def environment(self, data, work):
        return {'npm_config_cache': str(data / 'npm-cache'), 'npm_config_prefer_offline': 'true', 'npm_config_update_notifier': 'false'}

    def build(self):
        return [['npm', 'install', '--silent', '--no-audit', '--no-fund'], ['node_modules/.bin/webpack']]


PROJECTS = [Cpp(), Rust(), Node()]
