//! The runtime of a program, and how it is asked to stop: by a signal, or because its time is up.
//!
//! Whoever works looks at [`interrupted`] in every stage, gives up and cleans up. A clean-up that takes too long, and a
//! second signal, end the run at once: runners kill ten seconds after they have asked.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use xcache_core::descriptors;

use super::errors::{Crash, Interrupted};
use super::machine::Machine;

/// Longer than any run.
const KEEP_THREADS: Duration = Duration::from_secs(7 * 24 * 3600);

/// How long a run may clean up after it was asked to stop. GitHub kills 7.5 s after SIGINT and 2.5 s after the SIGTERM
/// that follows it, others 10 s after SIGTERM.
const CLEAN_UP: Duration = Duration::from_secs(5);

/// Threads for requests, and handlers of signals.
#[derive(Debug)]
pub struct Runtime {
    runtime: tokio::runtime::Runtime,
    /// SIGINT and SIGTERM, from the beginning.
    asked: Option<[Signal; 2]>,
}

impl Runtime {
    /// Starts the threads and listens to signals. Without handlers a signal ends the process, as it would if we never
    /// asked.
    pub fn start(machine: Option<Machine>) -> Result<Self, Crash> {
        let machine = machine.ok_or(Crash::NoThreads)?;
        if !descriptors::raise_limit() {
            return Err(Crash::Runtime(rustix::io::Errno::MFILE.into()));
        }
        // Explicit numbers, or tokio reads a variable of the environment and panics if it makes no sense.
        let build = || {
            let mut builder = match machine.async_threads {
                0 => tokio::runtime::Builder::new_current_thread(),
                _ => tokio::runtime::Builder::new_multi_thread(),
            };
            builder.worker_threads(machine.async_threads.max(1)).max_blocking_threads(machine.blocking_threads);
            // One that ends may not be had again.
            builder.thread_keep_alive(KEEP_THREADS);
            let runtime = builder.enable_all().build()?;
            let entered = runtime.enter();
            let signals = [signal(SignalKind::interrupt()), signal(SignalKind::terminate())];
            // A file that may not grow any more is an error (EFBIG) and no reason to die.
            drop(signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())));
            drop(entered);
            let asked = match signals {
                [Ok(interrupt), Ok(terminate)] => Some([interrupt, terminate]),
                _ => None,
            };
            Ok(Self { runtime, asked })
        };
        // A thread that cannot be had is a panic there, and no bug: it is reported as what it is.
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let built = catch_unwind(build);
        std::panic::set_hook(hook);
        built.unwrap_or_else(|panic| Err(io::Error::other(Crash::of_panic(&*panic)))).map_err(Crash::Runtime)
    }

    /// Runs `future`, for `timeout` at most. A panic becomes an error: a bug in the cache must not fail a build.
    ///
    /// Whatever is still running when the future is done is left behind, so that the process ends at once.
    pub fn run<T, E: From<Crash>>(
        self,
        timeout: Option<Duration>,
        future: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let Self { runtime, asked } = self;
        let guarded = AssertUnwindSafe(future).catch_unwind();
        let result = runtime.block_on(async {
            tokio::select! {
                done = guarded => done.unwrap_or_else(|panic| Err(Crash::of_panic(&*panic).into())),
                abandoned = watch_over(asked, timeout) => Err(abandoned.into()),
            }
        });
        runtime.shutdown_background();
        // What is left behind does not get to remove them itself.
        xcache_core::store::local::remove_drafts();
        result
    }
}

/// Asks the run to stop on a signal or when its time is up, and returns when it must end at once.
async fn watch_over(mut asked: Option<[Signal; 2]>, timeout: Option<Duration>) -> Crash {
    let why = tokio::select! {
        () = next_signal(&mut asked) => Interrupted::Signal,
        why = time_up(timeout) => why,
    };
    STOP.send_replace(Some(why));
    xcache_core::store::local::hurry();
    let is_asked_again = tokio::select! {
        () = next_signal(&mut asked) => true,
        () = tokio::time::sleep(CLEAN_UP) => false,
    };
    Crash::Abandoned { why, is_asked_again }
}

async fn next_signal(asked: &mut Option<[Signal; 2]>) {
    let Some([interrupt, terminate]) = asked else { return std::future::pending().await };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

async fn time_up(timeout: Option<Duration>) -> Interrupted {
    match timeout {
        Some(timeout) => {
            tokio::time::sleep(timeout).await;
            Interrupted::Timeout(timeout)
        }
        None => std::future::pending().await,
    }
}

/// Why we are asked to stop, if we are. One for the process, as signals are; it never goes back.
static STOP: LazyLock<watch::Sender<Option<Interrupted>>> = LazyLock::new(|| watch::Sender::new(None));

/// Waits until the user or the runner asks us to stop (Ctrl-C, SIGTERM), or the time is up; at once if that has
/// happened. Only in what [`Runtime::run`] runs.
pub async fn interrupted() -> Interrupted {
    let mut receiver = STOP.subscribe();
    match receiver.wait_for(Option::is_some).await {
        Ok(why) => why.unwrap_or(Interrupted::Signal),
        // The sender is gone, which a static never is.
        Err(_) => Interrupted::Signal,
    }
}

/// Why we were asked to stop; for whoever already knows that we were.
pub fn why_interrupted() -> Interrupted {
    STOP.borrow().unwrap_or(Interrupted::Signal)
}

/// Drops `work` when we are asked to stop: for stages that leave nothing behind.
pub async fn unless_interrupted<T>(work: impl Future<Output = T>) -> Result<T, Interrupted> {
    tokio::select! {
        biased;
        interrupted = interrupted() => Err(interrupted),
        done = work => Ok(done),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error() {
        for async_threads in [0, 2] {
            let start = || Runtime::start(Some(Machine { async_threads, ..Machine::UNLIMITED })).unwrap();
            // A panic with a payload that is no message leaves stderr quiet.
            let panicking = async { std::panic::resume_unwind(Box::new("broken".to_owned())) };
            let result: Result<(), Crash> = start().run(None, panicking);
            assert_eq!(result.unwrap_err().to_string(), "internal error: broken");
            assert_eq!(start().run(None, async { Ok::<_, Crash>(7) }).unwrap(), 7);
        }
    }

    #[test]
    fn without_threads_there_is_no_runtime() {
        let error = Runtime::start(None).unwrap_err();
        assert!(error.to_string().contains("limit of threads") && error.hint().is_some(), "{error}");
    }
}
