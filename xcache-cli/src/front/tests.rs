//! The front with a program that ends as it is told.

use serde::Serialize;

use super::*;
use crate::Interrupted;
use crate::context::tests::context;
use crate::report::tests::{PLAIN, reporter};

/// A program whose caches end as their configuration says.
struct Fake<const IS_SAFE: bool>;

struct Told;

impl Presented for Told {
    const COMMAND: &'static str = "fake";
    const HEADINGS: [&'static str; 8] = [""; 8];

    fn print(&self, _: &Reporter) {}
    fn row(&self) -> [String; 8] {
        Default::default()
    }
    fn document(&self) -> impl Serialize {}
    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }
    fn outputs(_: &[Self]) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}

#[derive(Debug, Parser)]
struct NoArgs;

impl<const IS_SAFE: bool> Program for Fake<IS_SAFE> {
    type Args = NoArgs;
    type Config = &'static str;
    type Outcome = String;
    type Presented<'a> = Told;

    const REFUSED: &'static [(&'static str, &'static str)] = &[];
    const IS_SAFE_TO_ABANDON: bool = IS_SAFE;

    fn shared(_: &NoArgs) -> SharedArgs<'_> {
        unreachable!("the tests have no command line")
    }
    fn notices(_: &NoArgs, _: &RunContext) -> Vec<String> {
        Vec::new()
    }
    fn fails_on_miss(_: &NoArgs, _: &RunContext) -> bool {
        false
    }
    fn early_outputs(_: &NoArgs) -> Vec<(&'static str, String)> {
        Vec::new()
    }
    fn configure(_: &NoArgs, _: &RunContext, _: &Event) -> Result<Vec<Self::Config>, UsageError> {
        Ok(Vec::new())
    }
    fn warnings(_: &Self::Config) -> Vec<Warning> {
        Vec::new()
    }
    fn store(_: &Self::Config) -> &StoreSelection {
        unreachable!("the tests have no store")
    }
    async fn run(config: &Self::Config, _: &RunContext, _: &Reporter) -> anyhow::Result<String> {
        match *config {
            // A payload that is no message leaves stderr quiet.
            "panics" => std::panic::resume_unwind(Box::new("broken".to_owned())),
            "fails" => anyhow::bail!("down"),
            "stands" => std::future::pending().await,
            config => {
                tokio::task::yield_now().await;
                Ok(config.to_owned())
            }
        }
    }
    fn of_trouble(error: &(dyn Error + 'static)) -> String {
        format!("trouble: {error}")
    }
    fn exit(_: &String, _: &Self::Config) -> Exit {
        Exit::Done
    }
    fn present<'a>(_: &RunContext, _: &'a Done<'a, Self::Config, String>) -> Told {
        Told
    }
}

fn run<const IS_SAFE: bool>(configs: &[&'static str], runtime: Result<Runtime, Crash>) -> (Vec<String>, Exit, String) {
    let (reporter, _, stderr) = reporter(PLAIN);
    let context = context(&[]);
    let run = CachesRun::<Fake<IS_SAFE>> { configs, context: &context, reporter: &reporter };
    let Ended { done, exit, .. } = run.all(runtime, None);
    (done.into_iter().map(|done| done.outcome).collect(), exit, stderr.text())
}

#[test]
fn each_cache_fails_for_itself() {
    let runtime = Runtime::start(Some(Machine::UNLIMITED));
    let (outcomes, exit, stderr) = run::<true>(&["a", "panics", "b", "fails", "c"], runtime);
    assert_eq!(outcomes, ["a", "trouble: internal error: broken", "b", "trouble: down", "c"]);
    assert_eq!((exit, stderr.matches("warning: ").count()), (Exit::Done, 2), "{stderr}");
}

#[test]
fn without_threads_every_cache_is_in_trouble() {
    let (outcomes, exit, stderr) = run::<true>(&["a", "b"], Err(Crash::NoThreads));
    assert!(outcomes.iter().all(|outcome| outcome.starts_with("trouble: cannot start")), "{outcomes:?}");
    assert_eq!((exit, stderr.matches("warning: ").count()), (Exit::Done, 1), "{stderr}");
}

#[test]
fn what_was_not_cleaned_up_is_unsafe_only_where_files_are_written() {
    let abandoned = |why| Err(Crash::Abandoned { why, is_asked_again: false });
    let timeout = Interrupted::Timeout(Duration::from_secs(1));
    assert_eq!(run::<true>(&["stands"], abandoned(timeout)).1, Exit::Done);
    assert_eq!(run::<false>(&["stands"], abandoned(timeout)).1, Exit::Failed);
    assert_eq!(run::<true>(&["stands"], abandoned(Interrupted::Signal)).1, Exit::Failed);
}
