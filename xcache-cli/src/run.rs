//! What the `main` functions share: running a future to its end, and answering the runner.

use std::any::Any;
use std::error::Error;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::{Class, Exit, Interrupted, RunContext, classify};
use crate::ci::event::Event;
use crate::ci::{output, summary};
use crate::report::Reporter;

/// Why a run gave no result of its own.
#[derive(Debug, thiserror::Error)]
pub enum Crash {
    /// The threads for it cannot be started.
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    /// A bug; the message was printed where it happened.
    #[error("internal error: {0}")]
    Panic(String),
}

/// Runs `future` on a multi-thread runtime. A panic becomes an error: a bug in the cache must not fail a build. Signals
/// to stop are listened to from the beginning: `future` looks at [`interrupted`] in every stage.
///
/// Whatever is still running when the future is done is left behind, so that the process ends at once.
pub fn block_on<T, E: From<Crash>>(future: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Crash::Runtime)?;
    let entered = runtime.enter();
    listen();
    drop(entered);
    // Nothing that the future could leave half changed is looked at after a panic.
    let result = catch_unwind(AssertUnwindSafe(|| runtime.block_on(future)));
    runtime.shutdown_background();
    result.unwrap_or_else(|panic| Err(Crash::Panic(panic_message(&*panic)).into()))
}

/// A cache that was worked on: its configuration, what came of it, and the time it took.
pub type Done<'a, C, T> = (&'a C, T, Duration);

/// Runs `run` on each of `configs`, all at the same time. Trouble with the cache is reported and becomes the outcome
/// that `of_trouble` makes of it; any other error is reported and has no outcome, and its class says how to end.
pub fn run_each<'a, C, T, E, F>(
    configs: &'a [C],
    reporter: &Reporter,
    run: impl Fn(&'a C) -> F,
    of_trouble: impl Fn(&(dyn Error + 'static)) -> T,
) -> (Vec<Done<'a, C, T>>, Exit)
where
    E: AsRef<dyn Error>,
    F: Future<Output = Result<T, E>>,
{
    let begin = Instant::now();
    let timed = configs.iter().map(|config| {
        let running = run(config);
        async move { (running.await, begin.elapsed()) }
    });
    let all = join_all(timed);
    let results = block_on(async { Ok(all.await) }).unwrap_or_else(|crash: Crash| {
        reporter.warning_for(&crash);
        configs.iter().map(|_| (Ok(of_trouble(&crash)), begin.elapsed())).collect()
    });
    let mut exit = Exit::Done;
    let mut done = Vec::new();
    for (config, (result, elapsed)) in configs.iter().zip(results) {
        let error = match result {
            Ok(outcome) => {
                done.push((config, outcome, elapsed));
                continue;
            }
            Err(error) => error,
        };
        match classify(error.as_ref()) {
            Class::Trouble => {
                reporter.warning_for(error.as_ref());
                done.push((config, of_trouble(error.as_ref()), elapsed));
            }
            class @ (Class::Unsafe | Class::Usage) => {
                reporter.error_for(error.as_ref());
                exit = exit.max(class.exit());
            }
        }
    }
    (done, exit)
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("unknown").to_owned()
}

/// Whether we were asked to stop. One for the process, as signals are; it never goes back.
static STOP: LazyLock<watch::Sender<bool>> = LazyLock::new(|| watch::Sender::new(false));

/// Waits until the user or the runner asks us to stop (Ctrl-C, SIGTERM), at once if that has happened. Only in what
/// [`block_on`] runs.
pub async fn interrupted() -> Interrupted {
    // An error would mean that the sender is gone, which a static never is.
    let _ = STOP.subscribe().wait_for(|is_asked| *is_asked).await;
    Interrupted
}

/// Drops `work` when we are asked to stop: for stages that leave nothing behind.
pub async fn unless_interrupted<T>(work: impl Future<Output = T>) -> Result<T, Interrupted> {
    tokio::select! {
        biased;
        interrupted = interrupted() => Err(interrupted),
        done = work => Ok(done),
    }
}

/// From here on signals do not end the process, but are told to those who wait for [`interrupted`]. To be called inside
/// of a runtime. Without a handler a signal ends the process, as it would if we never asked.
fn listen() {
    let (interrupt, terminate) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    for mut asked in [interrupt, terminate].into_iter().flatten() {
        tokio::spawn(async move {
            if asked.recv().await.is_some() {
                STOP.send_replace(true);
            }
        });
    }
}

/// The event of the run; an empty one, with a warning, if its file cannot be read.
pub fn read_event(context: &RunContext, reporter: &Reporter) -> Event {
    match &context.ci.event_path {
        Some(path) if context.ci.is_actions() => Event::read(path).unwrap_or_else(|error| {
            reporter.warning_for(&error);
            Event::default()
        }),
        _ => Event::default(),
    }
}

/// Writes outputs of the step, if there is a step.
pub fn write_outputs(context: &RunContext, reporter: &Reporter, outputs: &[(&str, String)]) {
    if let Some(path) = &context.ci.output
        && context.ci.is_actions()
        && let Err(error) = output::append(path, outputs)
    {
        reporter.warning(format_args!("cannot write outputs to `{}`: {error}", path.display()), None);
    }
}

/// Adds to the summary of the step, if there is one.
pub fn write_summary(context: &RunContext, reporter: &Reporter, markdown: &str) {
    if let Some(path) = &context.ci.step_summary
        && context.ci.is_actions()
        && let Err(error) = summary::append(path, markdown)
    {
        reporter.warning(format_args!("cannot write the summary to `{}`: {error}", path.display()), None);
    }
}

/// Prints the document of `--json`, if it was asked for.
pub fn print_document(reporter: &Reporter, document: &impl Serialize) {
    if let Err(error) = reporter.document(document) {
        reporter.warning(format_args!("cannot print the JSON document: {error}"), None);
    }
}

#[cfg(test)]
mod tests {
    use super::super::context::tests::context;
    use super::*;
    use crate::report::tests::{PLAIN, reporter};

    #[test]
    fn a_panic_becomes_an_error() {
        // A panic with a payload that is no message leaves stderr quiet.
        let result: Result<(), Crash> = block_on(async { std::panic::resume_unwind(Box::new("broken".to_owned())) });
        assert_eq!(result.unwrap_err().to_string(), "internal error: broken");
        assert_eq!(block_on(async { Ok::<_, Crash>(7) }).unwrap(), 7);
    }

    #[test]
    fn the_runner_is_answered_only_in_a_job() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let text = path.to_str().unwrap();
        let (reporter, _, stderr) = reporter(PLAIN);
        let variables = [("GITHUB_OUTPUT", text), ("GITHUB_STEP_SUMMARY", text), ("GITHUB_ACTIONS", "true")];
        let answer = |context: &RunContext| {
            write_outputs(context, &reporter, &[("a", "1".into())]);
            write_summary(context, &reporter, "# b\n");
        };
        answer(&context(&variables[..2]));
        assert!(!path.exists());
        answer(&context(&variables));
        let written = std::fs::read_to_string(&path).unwrap();
        assert!(written.starts_with("a<<") && written.ends_with("# b\n"), "{written}");
        assert_eq!(stderr.text(), "");
    }

    #[test]
    fn trouble_with_files_of_the_runner_is_a_warning() {
        let (reporter, _, stderr) = reporter(PLAIN);
        let job = |name| context(&[("GITHUB_ACTIONS", "true"), (name, "/nonexistent/file")]);
        write_outputs(&job("GITHUB_OUTPUT"), &reporter, &[]);
        write_summary(&job("GITHUB_STEP_SUMMARY"), &reporter, "");
        assert_eq!(read_event(&job("GITHUB_EVENT_PATH"), &reporter), Event::default());
        assert_eq!(stderr.text().matches("warning: cannot").count(), 3, "{}", stderr.text());
    }
}
