//! One front for all programs: parse, set up, run, tell.
//!
//! [`main`] goes from `argv` to the exit code of a program that works on caches ([`Program`]); [`Host`] is what it has
//! in common with `xcache-gc`: the surroundings, the runtime, the way in which a run is refused.

use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal as _, Write as _};
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Parser;
use futures_util::{FutureExt as _, StreamExt as _, stream};

use super::answer::{print_document, read_event, write_outputs};
use super::cache_args::CacheArgs;
use super::caches_report::{Presented, Report};
use super::compat_args::CompatArgs;
use super::errors::Crash;
use super::machine::{self, Machine};
use super::other_args::OtherArgs;
use super::output_args::OutputArgs;
use super::refusal::{AskedFor, Refusal};
use super::runtime::Runtime;
use super::store_args::StoreSelection;
use super::{Class, Exit, RunContext, UsageError, classify, command, common_flags, parse};
use crate::ci::event::Event;
use crate::ci::system::System;
use crate::output::v1::{FORMAT, FailedDocument};
use crate::report::settings::Settings;
use crate::report::{Reporter, chain, init_log};
use xcache_core::store::local;

/// The surroundings of a program, and its threads.
#[derive(Debug)]
pub struct Host {
    /// Environment, clock, machine.
    pub context: RunContext,
    /// The threads, unless they cannot be had: then there is no cache, but still an answer.
    pub runtime: Result<Runtime, Crash>,
    argv: Vec<OsString>,
}

impl Host {
    /// The first thing a program does, so that a signal finds it listening.
    pub fn start() -> Self {
        machine::ensure_one_arena();
        machine::harden();
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let machine = Machine::probe(cpus);
        let runtime = Runtime::start(machine);
        let context = RunContext::from_process(cpus, machine.unwrap_or(Machine::UNLIMITED));
        Self { context, runtime, argv: std::env::args_os().collect() }
    }

    /// Parses the command line. Without arguments the run is over, with this exit code; `refuse` answers for a wrong
    /// value in a job.
    pub fn parse<T: Parser>(&self, refuse: impl FnOnce(&UsageError, AskedFor, &Reporter) -> Exit) -> Result<T, Exit> {
        if self.asks_for_nothing() {
            let usage = common_flags::without_variables(command::<T>()).render_help();
            // Where stderr is closed there is nobody to read it.
            let _ = write!(io::stderr(), "{usage}");
            return Err(Exit::Usage);
        }
        let stop = match parse(self.argv.iter().cloned()) {
            Ok(args) => return Ok(args),
            Err(stop) => stop,
        };
        let refusal = Refusal::new(&stop, &self.argv);
        if !refusal.is_error() || !self.context.ci.is_ci() {
            return Err(refusal.print());
        }
        let asked = AskedFor::read(&self.argv, |name| std::env::var_os(name), &self.context);
        let reporter = Reporter::new(Settings { is_json: asked.for_json, ..Settings::default_of(&self.context) });
        let error = refusal.error(&self.context);
        if refusal.is_value() {
            let exit = refuse(&error, asked, &reporter);
            return Err(reporter.finish(exit, asked.to_fail));
        }
        reporter.error_for(&error);
        Err(Exit::Usage)
    }

    /// Whether a user has typed the name of the program and nothing else. A job may say everything in variables.
    fn asks_for_nothing(&self) -> bool {
        let is_said = |(name, value): (OsString, OsString)| {
            name.to_str().is_some_and(|name| name.starts_with("XCACHE_")) && !value.is_empty()
        };
        self.argv.len() == 1 && !self.context.ci.is_ci() && !std::env::vars_os().any(is_said)
    }

    /// The reporter that the arguments ask for.
    pub fn reporter(&self, output: &OutputArgs) -> Reporter {
        let settings = output.resolve(&self.context, io::stderr().is_terminal());
        init_log(settings);
        let reporter = Reporter::new(settings);
        if self.context.ci.system == Some(System::GitLab) {
            let program = self.argv.first().map(Path::new).and_then(Path::file_name).and_then(OsStr::to_str);
            reporter.begin_section(program.unwrap_or("xcache"));
        }
        let told = reporter.clone();
        local::on_wait(move |local::LockWait { lock, holder, patience }| {
            let who = holder.map_or_else(|| "another process".to_owned(), |id| format!("process {id}"));
            told.notice(format_args!(
                "waiting for the lock `{}`, which {who} holds, for {} s at most",
                lock.display(),
                patience.as_secs()
            ));
        });
        reporter
    }
}

/// The arguments that all programs with caches have.
#[derive(Clone, Copy, Debug)]
pub struct SharedArgs<'a> {
    /// Paths and keys.
    pub cache: &'a CacheArgs,
    /// What is printed.
    pub output: &'a OutputArgs,
    /// What is ignored.
    pub compat: &'a CompatArgs,
    /// What is printed instead of running.
    pub other: &'a OtherArgs,
    /// How long the run may take.
    pub timeout: Option<Duration>,
}

/// A program that works on caches: a save or a restore.
pub trait Program {
    /// The command line.
    type Args: Parser;
    /// What is to be done with one cache, checked.
    type Config;
    /// How it ended.
    type Outcome;
    /// That, in the forms in which it is told.
    type Presented<'a>: Presented
    where
        Self::Config: 'a,
        Self::Outcome: 'a;

    /// The outputs of a step that was refused.
    const REFUSED: &'static [(&'static str, &'static str)];
    /// Whether nothing can be half done if cleaning up is not waited for.
    const IS_SAFE_TO_ABANDON: bool;

    /// The arguments that all programs have.
    fn shared(args: &Self::Args) -> SharedArgs<'_>;
    /// What to say of arguments before anything is done.
    fn notices(args: &Self::Args, context: &RunContext) -> Vec<String>;
    /// Whether a miss shall fail, if the program knows misses.
    fn fails_on_miss(args: &Self::Args, context: &RunContext) -> bool;
    /// Outputs that are written before anything can fail.
    fn early_outputs(args: &Self::Args) -> Vec<(&'static str, String)>;
    /// Checks the arguments of each cache.
    fn configure(args: &Self::Args, context: &RunContext, event: &Event) -> Result<Vec<Self::Config>, UsageError>;
    /// What to warn of before anything is done. AskedFor of one cache: they differ in paths and keys only.
    fn warnings(config: &Self::Config) -> Vec<Warning>;
    /// The store of a cache.
    fn store(config: &Self::Config) -> &StoreSelection;
    /// Works on one cache.
    fn run(
        config: &Self::Config,
        context: &RunContext,
        reporter: &Reporter,
    ) -> impl Future<Output = anyhow::Result<Self::Outcome>>;
    /// The outcome that trouble with the cache makes.
    fn of_trouble(error: &(dyn Error + 'static)) -> Self::Outcome;
    /// How the process ends.
    fn exit(outcome: &Self::Outcome, config: &Self::Config) -> Exit;
    /// An outcome, to be told.
    fn present<'a>(context: &RunContext, done: &'a Done<'a, Self::Config, Self::Outcome>) -> Self::Presented<'a>;
}

/// Something about the configuration that is worth a warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// What.
    pub text: String,
    /// What to do about it.
    pub hint: Option<&'static str>,
}

/// A cache that was worked on.
#[derive(Clone, Copy, Debug)]
pub struct Done<'a, C, T> {
    /// What was to be done.
    pub config: &'a C,
    /// How it ended.
    pub outcome: T,
    /// How long it took.
    pub elapsed: Duration,
}

/// Runs a program.
pub fn main<P: Program>() -> ExitCode {
    let host = Host::start();
    let args: P::Args = match host.parse(|error, asked, reporter| refuse::<P>(error, asked, &host.context, reporter)) {
        Ok(args) => args,
        Err(exit) => return exit.into(),
    };
    let shared = P::shared(&args);
    if let Some(exit) = shared.other.print::<P::Args>() {
        return exit.into();
    }
    let reporter = host.reporter(shared.output);
    let to_fail = shared.cache.fail_on_error;
    if to_fail || P::fails_on_miss(&args, &host.context) {
        reporter.hold();
    }
    let exit = set_up_and_run::<P>(host, &args, &reporter);
    reporter.finish(exit, to_fail).into()
}

fn set_up_and_run<P: Program>(host: Host, args: &P::Args, reporter: &Reporter) -> Exit {
    let Host { context, runtime, .. } = host;
    let SharedArgs { cache, compat, timeout, output, .. } = P::shared(args);
    for notice in compat.notices().into_iter().chain(P::notices(args, &context)) {
        reporter.notice(notice);
    }
    let early = P::early_outputs(args);
    if !early.is_empty() {
        write_outputs(&context, reporter, &early);
    }
    let event = read_event(&context, reporter);
    let configs = match P::configure(args, &context, &event) {
        Ok(configs) => configs,
        Err(error) => {
            let to_fail = cache.fail_on_error || P::fails_on_miss(args, &context);
            return refuse::<P>(&error, AskedFor { to_fail, for_json: output.json }, &context, reporter);
        }
    };
    if let Some(store) = configs.iter().map(P::store).find(|store| store.is_default) {
        reporter.notice(format_args!("no store given, using the local one at `{}`", store.url()));
    }
    for Warning { text, hint } in configs.first().map(P::warnings).unwrap_or_default() {
        reporter.warning(text, hint);
    }
    let run = CachesRun::<P> { configs: &configs, context: &context, reporter };
    let Ended { done, exit, failure, .. } = run.all(runtime, timeout);
    let presented: Vec<_> = done.iter().map(|done| P::present(&context, done)).collect();
    let report = Report { caches: &presented, is_list: cache.is_list() };
    report.tell(&context, reporter);
    if let Some(path) = &cache.metrics {
        report.measure(path, &context, reporter);
    }
    if let (Some(failure), true) = (failure, done.is_empty()) {
        print_document(reporter, &failure);
    }
    done.iter().map(|done| P::exit(&done.outcome, done.config)).fold(exit, Exit::max)
}

/// Says what is wrong with the input. In a job that must not fail a build: it means that there is no cache.
fn refuse<P: Program>(error: &UsageError, asked: AskedFor, context: &RunContext, reporter: &Reporter) -> Exit {
    if asked.for_json {
        print_document(reporter, &failed::<P>(error));
    }
    if !context.ci.is_ci() {
        reporter.error_for(error);
        return Exit::Usage;
    }
    let outputs: Vec<_> = P::REFUSED.iter().map(|&(name, value)| (name, value.to_owned())).collect();
    write_outputs(context, reporter, &outputs);
    if asked.to_fail {
        reporter.error_for(error);
        return Exit::Failed;
    }
    reporter.warning_for(error);
    Exit::Done
}

/// The document of a run without one of its own.
fn failed<P: Program>(error: &(dyn Error + 'static)) -> FailedDocument {
    let refused =
        |name: &str| P::REFUSED.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned());
    FailedDocument {
        format: FORMAT,
        command: P::Presented::COMMAND.to_owned(),
        outcome: refused("outcome").unwrap_or_default(),
        reason: refused("miss-reason"),
        error: chain::text(error),
    }
}

/// What all caches of a run share.
struct CachesRun<'a, P: Program> {
    configs: &'a [P::Config],
    context: &'a RunContext,
    reporter: &'a Reporter,
}

impl<'a, P: Program> CachesRun<'a, P> {
    /// Works on each cache, all at the same time. Trouble with a cache is reported and becomes an outcome; any other
    /// error is reported and has no outcome, and its class says how to end.
    fn all(&self, runtime: Result<Runtime, Crash>, timeout: Option<Duration>) -> Ended<'a, P> {
        let begin = Instant::now();
        // Kept outside of the run, so that caches that are done stay done when the others are given up.
        let results: Vec<_> = self.configs.iter().map(|_| Mutex::new(None)).collect();
        let each = self.configs.iter().zip(&results).map(|(config, result)| async move {
            // Each fails for itself: a bug in one leaves the others alone.
            let caught = AssertUnwindSafe(P::run(config, self.context, self.reporter)).catch_unwind().await;
            let ended = caught.unwrap_or_else(|panic| Err(Crash::of_panic(&*panic).into()));
            *result.lock().unwrap_or_else(PoisonError::into_inner) = Some((ended, begin.elapsed()));
        });
        let all = stream::iter(each).buffer_unordered(self.context.machine.caches()).for_each(|()| async {});
        let all = async {
            all.await;
            Ok::<_, Crash>(())
        };
        let crash = runtime.and_then(|runtime| runtime.run(timeout, all)).err();
        let mut ended = Ended { reporter: self.reporter, done: Vec::new(), exit: Exit::Done, failure: None };
        if let Some(crash) = &crash {
            ended.crashed(crash);
        }
        for (config, result) in self.configs.iter().zip(results) {
            let result = result.into_inner().unwrap_or_else(PoisonError::into_inner);
            match (result, &crash) {
                (Some((result, elapsed)), _) => ended.take(config, result, elapsed),
                (None, Some(crash)) => {
                    let outcome = P::of_trouble(crash);
                    ended.done.push(Done { config, outcome, elapsed: begin.elapsed() });
                }
                (None, None) => {}
            }
        }
        ended
    }
}

/// How the caches of a run have ended so far.
struct Ended<'a, P: Program> {
    reporter: &'a Reporter,
    done: Vec<Done<'a, P::Config, P::Outcome>>,
    exit: Exit,
    /// The document for what has no outcome.
    failure: Option<FailedDocument>,
}

impl<'a, P: Program> Ended<'a, P> {
    /// The run as a whole gave nothing.
    fn crashed(&mut self, crash: &Crash) {
        let class = match crash {
            Crash::Abandoned { why, .. } if P::IS_SAFE_TO_ABANDON => why.class(),
            Crash::Abandoned { .. } => Class::Unsafe,
            Crash::Runtime(_) | Crash::NoThreads | Crash::Panic(_) => Class::Trouble,
        };
        match class {
            Class::Trouble => self.reporter.warning_for(crash),
            Class::Unsafe | Class::Usage => self.failed(crash, class),
        }
    }

    fn take(&mut self, config: &'a P::Config, result: anyhow::Result<P::Outcome>, elapsed: Duration) {
        let error = match result {
            Ok(outcome) => return self.done.push(Done { config, outcome, elapsed }),
            Err(error) => error,
        };
        match classify(error.as_ref()) {
            Class::Trouble => {
                self.reporter.warning_for(error.as_ref());
                self.done.push(Done { config, outcome: P::of_trouble(error.as_ref()), elapsed });
            }
            class @ (Class::Unsafe | Class::Usage) => self.failed(error.as_ref(), class),
        }
    }

    fn failed(&mut self, error: &(dyn Error + 'static), class: Class) {
        self.reporter.error_for(error);
        self.exit = self.exit.max(class.exit());
        self.failure = Some(FailedDocument { outcome: "failed".to_owned(), reason: None, ..failed::<P>(error) });
    }
}

#[cfg(test)]
mod tests;
