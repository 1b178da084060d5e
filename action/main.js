// The one-step action: at its place in the job it restores, and at the end of the job it saves.
//
// The runner starts this file twice, in processes of their own: as `main` and as `post`. What `main` leaves in the
// runner's state tells the second run that it is the second, and what to do. All of the work is done by the programs,
// which run.sh gets and runs; they report to the runner themselves.
//
// Inputs are not listed here: each INPUT_X that is not blank becomes XCACHE_X, which is a flag of the programs. So
// secrets reach them through the environment only, never through arguments, state or logs.
'use strict';

const { spawn } = require('node:child_process');
const { randomUUID } = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');

const env = process.env;

/** The inputs that are for this file, not for the programs. */
const OWN_INPUTS = ['save-if', 'save-on-failure', 'job-status'];

/** What the save takes as it was at the restore: expressions are evaluated again at the end of the job, and
 *  `hashFiles()` may then give another key for files that the build has changed. */
const FROZEN = ['XCACHE_KEY', 'XCACHE_PATH', 'XCACHE_CACHES'];

const input = (name) => (env[`INPUT_${name.toUpperCase()}`] ?? '').trim();

/** The environment of the programs. */
function programEnvironment() {
  const result = {};
  for (const [name, value] of Object.entries(env)) {
    if (!/^(INPUT|STATE)_/.test(name)) result[name] = value;
  }
  for (const [name, value] of Object.entries(env)) {
    const own = OWN_INPUTS.some((input) => name === `INPUT_${input.toUpperCase()}`);
    if (!name.startsWith('INPUT_') || own || value.trim() === '') continue;
    // The one input of actions/cache that is written in another way.
    const flag = name.slice('INPUT_'.length).replace('ENABLECROSSOSARCHIVE', 'ENABLE_CROSS_OS_ARCHIVE');
    result[`XCACHE_${flag.replace(/[- ]/g, '_')}`] = value;
  }
  return result;
}

/** A switch: true, false, or undefined for what is neither. */
function parseSwitch(text, whenBlank) {
  if (text.trim() === '') return whenBlank;
  if (/^(true|yes|on|1)$/i.test(text.trim())) return true;
  return /^(false|no|off|0)$/i.test(text.trim()) ? false : undefined;
}

/** Trouble with the cache: an annotation, and a failed step only if the user asked for that. */
function trouble(level, text) {
  const escaped = text.replace(/%/g, '%25').replace(/\r/g, '%0D').replace(/\n/g, '%0A');
  const mustFail = parseSwitch(programEnvironment().XCACHE_FAIL_ON_ERROR ?? '', false);
  console.log(`::${mustFail ? 'error' : level}::${escaped}`);
  if (mustFail) process.exitCode = 1;
}

/** The switches of ours that cannot be read, as text for a message; blank if there are none. */
function wrongSwitches() {
  const wrong = ['save-if', 'save-on-failure'].filter((name) => parseSwitch(input(name), true) === undefined);
  return wrong.map((name) => `\`${name}\` is \`${input(name)}\`, but must be \`true\` or \`false\``).join('; ');
}

/** Keeps values for `post`, which finds them as STATE_name. */
function saveState(values) {
  for (const [name, value] of Object.entries(values)) {
    const delimiter = `xcache_${randomUUID()}`;
    fs.appendFileSync(env.GITHUB_STATE, `${name}<<${delimiter}\n${value}\n${delimiter}\n`);
  }
}

/** The outputs that were set in the file of this step. */
function readOutputs() {
  const outputs = {};
  const lines = fs.readFileSync(env.GITHUB_OUTPUT, 'utf8').split('\n');
  while (lines.length > 0) {
    const [, name, delimiter] = /^([^=]+?)<<(.+)$/.exec(lines.shift()) ?? [];
    if (name === undefined) continue;
    const end = lines.indexOf(delimiter);
    if (end < 0) break;
    outputs[name] = lines.splice(0, end).join('\n');
  }
  return outputs;
}

/** Runs a program to its end, whatever happens meanwhile, and ends as it does. */
function run(program, environment) {
  return new Promise((resolve, reject) => {
    let child;
    let isAsked = false;
    // Listening comes first: once the program runs, a signal must not end this process and leave the program behind.
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
      process.on(signal, () => {
        isAsked = true;
        try {
          process.kill(-child.pid, signal);
        } catch {
          // It has just ended.
        }
      });
    }
    // It leads a process group of its own: a signal must also reach what run.sh has started, such as a download.
    const options = { detached: true, env: environment, stdio: 'inherit' };
    child = spawn('sh', [path.join(__dirname, 'run.sh'), program], options);
    child.on('error', (error) => reject(new Error(`${program} needs Linux and a POSIX shell: ${error.message}`)));
    child.on('exit', (code, signal) => {
      if (signal === null || isAsked) {
        process.exitCode = code ?? 1;
      } else if (program === 'xcache-save') {
        trouble('warning', `nothing was saved: ${program} was ended by ${signal}, perhaps for lack of memory`);
      } else {
        console.log(`::error::${program} was ended by ${signal}; what it was restoring may be incomplete`);
        process.exitCode = 1;
      }
      resolve();
    });
  });
}

async function main() {
  const environment = programEnvironment();
  const frozen = FROZEN.filter((name) => environment[name] !== undefined);
  saveState({ post: 'true', ...Object.fromEntries(frozen.map((name) => [name, environment[name]])) });
  await run('xcache-restore', environment);
  const outputs = readOutputs();
  saveState({ outcome: outputs.outcome ?? '', hit: outputs['cache-hit'] ?? '' });
  const wrong = wrongSwitches();
  if (wrong !== '') trouble('error', `nothing will be saved: ${wrong}`);
  // The save would only say the same once more.
  if (wrong !== '' || outputs['miss-reason'] === 'misconfigured') saveState({ wrong: 'true' });
}

/** Why nothing is saved, in words for the log; undefined if something is. */
function reasonNotToSave() {
  const status = input('job-status');
  if (!env.STATE_outcome) return 'Not saving cache: the restore of this step did not finish.';
  if (env.STATE_hit === 'true') {
    const key = (env.STATE_XCACHE_KEY ?? 'of each cache').trim();
    return `Cache hit occurred on the primary key ${key}, not saving cache.`; // the words of actions/cache
  }
  if (env.STATE_wrong) return 'Not saving cache: an input is wrong, see the annotation of this step.';
  if (parseSwitch(input('save-if'), true) === false) return 'Not saving cache: `save-if` is false.';
  if (status === 'success' || (status === 'failure' && parseSwitch(input('save-on-failure'), false))) return undefined;
  if (status === 'failure') return 'Not saving cache: the job failed. With `save-on-failure: true` it would be saved.';
  return `Not saving cache: the status of the job is \`${status}\`.`;
}

async function post() {
  const reason = reasonNotToSave();
  const wrong = wrongSwitches();
  if (reason !== undefined) {
    console.log(reason);
  } else if (wrong !== '') {
    trouble('error', `nothing is saved: ${wrong}`);
  } else {
    const frozen = FROZEN.filter((name) => env[`STATE_${name}`] !== undefined);
    const values = frozen.map((name) => [name, env[`STATE_${name}`]]);
    await run('xcache-save', { ...programEnvironment(), ...Object.fromEntries(values) });
  }
}

(env.STATE_post ? post : main)().catch((error) => trouble('warning', `continuing without the cache: ${error.message}`));
