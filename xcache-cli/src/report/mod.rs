//! What a run tells its user.
//!
//! Human lines go to stderr. stdout is for data that someone pipes: the document of `--json`, and in GitHub Actions
//! the workflow commands that become annotations (on stderr when `--json` has stdout; the runner reads both).
//! A text in a line never becomes a command to the runner or to the terminal, whatever a file or key is called.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt;
use std::io::{self, IsTerminal as _, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::MultiProgress;
use serde::Serialize;
use xcache_core::monitor::{self, Monitor, Unit};
use xcache_core::redact;

pub mod chain;
mod held;
pub mod human;
pub mod table;
mod log;
mod phases;
mod progress;
pub mod settings;

use held::{HeldMessages, Told};
pub use log::init_log;
pub use phases::Phase;
use phases::Phases;
use progress::{ProgressForm, ShownProgress, Stage};
use settings::{Settings, Verbosity};
use table::AlignedTable;

use crate::ci::annotation::{Commands, Level};
use crate::ci::section::Section;
use crate::{Exit, streams};

/// Prints lines, warnings, errors, progress and the final document. Clones print to the same place.
#[derive(Clone)]
pub struct Reporter {
    shared: Arc<ReporterState>,
}

struct ReporterState {
    settings: Settings,
    /// How wide the terminal is that stdout is connected to, if it is.
    columns: Option<usize>,
    bars: MultiProgress,
    outputs: Mutex<Outputs>,
    /// What [`Reporter::notice_once`] and [`Reporter::warning_once`] have reported.
    noticed: Mutex<BTreeSet<String>>,
    warnings: AtomicU64,
    /// The causes of [`Reporter::warning_for`] so far.
    causes: Mutex<BTreeSet<String>>,
    held: HeldMessages,
    section: Mutex<Option<Section>>,
    /// Why data could not be written to stdout.
    lost: Mutex<Option<io::Error>>,
    /// What else could not be written that the run was to leave.
    unwritten: Mutex<Vec<String>>,
    has_document: AtomicBool,
    last_error: Mutex<Option<String>>,
    phases: Arc<Phases>,
}

struct Outputs {
    stdout: Box<dyn Write + Send>,
    stderr: Box<dyn Write + Send>,
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reporter").field("settings", &self.shared.settings).finish_non_exhaustive()
    }
}

impl Reporter {
    /// Prints to the streams of the process.
    pub fn new(settings: Settings) -> Self {
        Self::with(settings, terminal_columns(), streams::data(), Box::new(io::stderr()))
    }

    /// Prints to the given writers. Bars still go to the terminal.
    pub fn to_writers(settings: Settings, stdout: Box<dyn Write + Send>, stderr: Box<dyn Write + Send>) -> Self {
        Self::with(settings, None, stdout, stderr)
    }

    fn with(
        settings: Settings,
        columns: Option<usize>,
        stdout: Box<dyn Write + Send>,
        stderr: Box<dyn Write + Send>,
    ) -> Self {
        let outputs = Mutex::new(Outputs { stdout, stderr });
        let noticed = Mutex::default();
        Self {
            shared: Arc::new(ReporterState {
                settings,
                columns,
                bars: MultiProgress::new(),
                outputs,
                noticed,
                warnings: AtomicU64::new(0),
                causes: Mutex::default(),
                held: HeldMessages::default(),
                section: Mutex::default(),
                lost: Mutex::default(),
                unwritten: Mutex::default(),
                has_document: AtomicBool::new(false),
                last_error: Mutex::default(),
                phases: Arc::default(),
            }),
        }
    }

    /// The form of the output.
    pub fn settings(&self) -> Settings {
        self.shared.settings
    }

    /// Begins a phase.
    pub fn phase(&self, name: &'static str) -> Phase {
        Phase::begin(&self.shared.phases, name)
    }

    /// How long each phase has taken so far.
    pub fn phases(&self) -> BTreeMap<&'static str, Duration> {
        self.shared.phases.all()
    }

    /// A line that says what was done.
    pub fn line(&self, text: impl fmt::Display) {
        if self.shared.settings.verbosity >= Verbosity::Normal {
            self.print(None, &text.to_string());
        }
    }

    /// Something worth knowing that is no trouble.
    pub fn notice(&self, text: impl fmt::Display) {
        if self.shared.settings.verbosity >= Verbosity::Normal {
            self.print(Some(Label::Notice), &text.to_string());
        }
    }

    /// A notice that concerns the run and not one of its caches: said by the first who says it.
    pub fn notice_once(&self, text: &str) {
        if self.is_new(text) {
            self.notice(text);
        }
    }

    /// The same for trouble.
    pub fn warning_once(&self, text: &str, hint: Option<&str>) {
        if self.is_new(text) {
            self.warning(text, hint);
        }
    }

    fn is_new(&self, text: &str) -> bool {
        self.shared.noticed.lock().unwrap_or_else(PoisonError::into_inner).insert(text.to_owned())
    }

    /// A table of data on stdout, unless that is for the document of `--json`.
    pub fn table(&self, table: &AlignedTable) {
        let Settings { is_json, commands, .. } = self.shared.settings;
        if is_json {
            return;
        }
        let lines = match self.shared.columns {
            Some(columns) => table.lines_within(columns),
            None => table.lines().collect(),
        };
        let text: String = lines.into_iter().map(|line| commands.disarm(line) + "\n").collect();
        self.write_data(&text);
    }

    /// A line of data on stdout, unless that is for the document of `--json`.
    pub fn data(&self, text: impl fmt::Display) {
        let Settings { is_json, commands, .. } = self.shared.settings;
        if !is_json {
            self.write_data(&format!("{}\n", one_line(&text.to_string(), commands)));
        }
    }

    /// The same of what was done, which is no loss where nobody reads it.
    pub fn log(&self, text: impl fmt::Display) {
        if streams::is_read() {
            self.data(text);
        }
    }

    /// [`Self::table`] of what was done, as [`Self::log`].
    pub fn log_table(&self, table: &AlignedTable) {
        if streams::is_read() {
            self.table(table);
        }
    }

    /// A decision, for those who ask why.
    pub fn debug(&self, text: impl fmt::Display) {
        if self.shared.settings.verbosity >= Verbosity::Verbose {
            self.print(Some(Label::Debug), &text.to_string());
        }
    }

    /// Trouble that does not end the run.
    pub fn warning(&self, text: impl fmt::Display, hint: Option<&str>) {
        self.shared.warnings.fetch_add(1, Ordering::Relaxed);
        self.tell(Level::Warning, text.to_string(), hint);
    }

    /// How many warnings there were so far.
    pub fn warnings(&self) -> u64 {
        self.shared.warnings.load(Ordering::Relaxed)
    }

    /// What ends the run.
    pub fn error(&self, text: impl fmt::Display, hint: Option<&str>) {
        let text = text.to_string();
        self.tell(Level::Error, text.clone(), hint);
        *self.shared.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
    }

    /// [`Reporter::warning`] with an error's chain of causes and its hint. Several errors of one cause, such as a store
    /// that cannot be reached, are one warning: the others are for those who ask why.
    pub fn warning_for(&self, error: &(dyn Error + 'static)) {
        let text = chain::text(error);
        if self.is_new_cause(error) {
            self.warning(text, chain::hint(error));
        } else {
            self.shared.warnings.fetch_add(1, Ordering::Relaxed);
            self.debug(text);
        }
    }

    fn is_new_cause(&self, error: &(dyn Error + 'static)) -> bool {
        let mut causes = self.shared.causes.lock().unwrap_or_else(PoisonError::into_inner);
        causes.insert(chain::cause(error))
    }

    /// [`Reporter::error`] with an error's chain of causes and its hint.
    pub fn error_for(&self, error: &(dyn Error + 'static)) {
        self.error(chain::text(error), chain::hint(error));
    }

    /// The document of `--json`; nothing without that.
    pub fn document(&self, document: &impl Serialize) {
        self.shared.has_document.store(true, Ordering::Relaxed);
        if self.shared.settings.is_json {
            let text = serde_json::to_string_pretty(document).expect("documents have only texts as names");
            self.write_data(&format!("{text}\n"));
        }
    }

    /// Whether the document was printed, or would have been.
    pub fn has_document(&self) -> bool {
        self.shared.has_document.load(Ordering::Relaxed)
    }

    /// The text of the last error, for a run that has no other document.
    pub fn last_error(&self) -> Option<String> {
        self.shared.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts everything up to [`Reporter::finish`] into a section of the log that its reader can fold.
    pub fn begin_section(&self, program: &str) {
        if self.shared.settings.verbosity >= Verbosity::Normal {
            let (section, line) = Section::begin(program);
            drop(self.write(|outputs| &mut outputs.stderr, &format!("{line}\n")));
            *self.shared.section.lock().unwrap_or_else(PoisonError::into_inner) = Some(section);
        }
    }

    /// From now on warnings and errors wait for [`Reporter::finish`], where the run is in a job and they are annotations:
    /// for a run that trouble turns red.
    pub fn hold(&self) {
        if self.shared.settings.commands != Commands::None {
            self.shared.held.begin();
        }
    }

    /// Something that the run was to leave, besides what it prints, could not be written.
    pub fn unwritten(&self, error: &(dyn Error + 'static)) {
        let text = chain::text(error);
        let mut unwritten = self.shared.unwritten.lock().unwrap_or_else(PoisonError::into_inner);
        if !unwritten.contains(&text) {
            unwritten.push(text);
        }
    }

    /// Ends the run. What could not be written is a failure of a command line, and of a job that trouble is to fail
    /// (`to_fail`). In any other job, whose log is not what the run is for, it is a warning.
    pub fn finish(&self, exit: Exit, to_fail: bool) -> Exit {
        let lost = self.shared.lost.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut losses = std::mem::take(&mut *self.shared.unwritten.lock().unwrap_or_else(PoisonError::into_inner));
        let is_failure = self.shared.settings.commands == Commands::None || to_fail;
        let is_any = lost.is_some() || !losses.is_empty();
        // Whoever closed a pipe has read all that they wanted; the code still says that it was not all.
        if let Some(error) = lost.filter(|error| !is_failure || error.kind() != io::ErrorKind::BrokenPipe) {
            losses.push(format!("cannot write to the standard output: {error}"));
        }
        for loss in losses {
            if is_failure { self.error(loss, None) } else { self.warning(loss, None) }
        }
        for told in self.shared.held.release() {
            self.annotate(&told);
        }
        if let Some(section) = self.shared.section.lock().unwrap_or_else(PoisonError::into_inner).take() {
            drop(self.write(|outputs| &mut outputs.stderr, &format!("{}\n", section.end())));
        }
        if is_any && is_failure { exit.max(Exit::Failed) } else { exit }
    }

    fn tell(&self, level: Level, text: String, hint: Option<&str>) {
        let told = Told { level, text, hint: hint.map(str::to_owned) };
        if let Some(told) = self.shared.held.keep(told) {
            self.annotate(&told);
        }
    }

    fn annotate(&self, Told { level, text, hint }: &Told) {
        let hinted = hint.as_ref().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
        let annotation = self.shared.settings.commands.annotate(*level, &format!("{text}{hinted}"));
        if let Some(line) = annotation.map(|line| format!("{line}\n")) {
            let is_json = self.shared.settings.is_json;
            // Where the log cannot be written to, the runner still reads the other stream.
            if is_json || self.write(|outputs| &mut outputs.stdout, &line).is_err() {
                drop(self.write(|outputs| &mut outputs.stderr, &line));
            }
        } else {
            self.print(Some(if *level == Level::Error { Label::Error } else { Label::Warning }), text);
            if let Some(hint) = hint {
                self.print(Some(Label::Hint), hint);
            }
        }
    }

    fn print(&self, label: Option<Label>, text: &str) {
        let Settings { has_color, commands, .. } = self.shared.settings;
        let label = label.map(|label| label.styled(has_color)).unwrap_or_default();
        // If stderr is closed or full, there is no place left to say so.
        drop(self.write(|outputs| &mut outputs.stderr, &format!("{label}{}\n", one_line(text, commands))));
    }

    /// Writes data to stdout. After a failure nothing more is written: a document with a hole is worse than half of one.
    fn write_data(&self, text: &str) {
        let mut lost = self.shared.lost.lock().unwrap_or_else(PoisonError::into_inner);
        if lost.is_none() {
            *lost = self.write(|outputs| &mut outputs.stdout, text).err();
        }
    }

    /// The one place where anything is printed, and where secrets are hidden.
    fn write(&self, stream: impl FnOnce(&mut Outputs) -> &mut Box<dyn Write + Send>, line: &str) -> io::Result<()> {
        let line = redact::hide(line);
        self.shared.bars.suspend(|| {
            let mut outputs = self.outputs();
            let stream = stream(&mut outputs);
            stream.write_all(line.as_bytes())?;
            stream.flush()
        })
    }

    fn outputs(&self) -> MutexGuard<'_, Outputs> {
        self.shared.outputs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How wide the terminal is that stdout is connected to, if it is.
fn terminal_columns() -> Option<usize> {
    let stdout = io::stdout();
    let size = rustix::termios::tcgetwinsize(&stdout).ok().filter(|_| stdout.is_terminal())?;
    // Some terminals do not tell.
    Some(if size.ws_col == 0 { 80 } else { size.ws_col.into() })
}

impl Monitor for Reporter {
    fn notice(&self, text: &str) {
        self.notice(text);
    }

    fn warning(&self, text: &str, hint: Option<&str>) {
        self.warning(text, hint);
    }

    fn debug(&self, text: &str) {
        self.debug(text);
    }

    fn progress(&self, stage: &'static str, unit: Unit, total: Option<u64>) -> Arc<dyn monitor::Progress> {
        let reporter = self.clone();
        let form = ProgressForm { mode: self.shared.settings.progress, bars: &self.shared.bars };
        Arc::new(ShownProgress::new(form, move |line| reporter.line(line), Stage { name: stage, unit }, total))
    }
}

/// The word before a line.
#[derive(Clone, Copy)]
enum Label {
    Debug,
    Notice,
    Warning,
    Error,
    Hint,
}

impl Label {
    fn styled(self, has_color: bool) -> String {
        let (word, color) = match self {
            Self::Debug => ("debug", "2"),
            Self::Notice => ("notice", "1;34"),
            Self::Warning => ("warning", "1;33"),
            Self::Error => ("error", "1;31"),
            Self::Hint => ("hint", "1;36"),
        };
        if has_color { format!("\x1b[{color}m{word}:\x1b[0m ") } else { format!("{word}: ") }
    }
}

/// Makes control characters visible, so that the name of a file cannot begin a line or move the cursor, and breaks up
/// what the runner would take for a command.
fn one_line(text: &str, commands: Commands) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    commands.disarm(line)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::settings::ProgressMode;
    use super::*;
    use xcache_core::store::{self, ErrorKind};

    /// A writer whose bytes can be read afterwards.
    #[derive(Clone, Default)]
    pub(crate) struct Capture(Arc<Mutex<Vec<u8>>>);

    impl Capture {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Capture {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    pub(crate) const PLAIN: Settings = Settings {
        verbosity: Verbosity::Normal,
        is_json: false,
        has_color: false,
        progress: ProgressMode::None,
        commands: Commands::None,
    };

    pub(crate) fn reporter(settings: Settings) -> (Reporter, Capture, Capture) {
        let (stdout, stderr) = (Capture::default(), Capture::default());
        (Reporter::to_writers(settings, Box::new(stdout.clone()), Box::new(stderr.clone())), stdout, stderr)
    }

    #[track_caller]
    fn check(settings: Settings, act: impl FnOnce(&Reporter), expected_stdout: &str, expected_stderr: &str) {
        let (reporter, stdout, stderr) = reporter(settings);
        act(&reporter);
        assert_eq!((stdout.text().as_str(), stderr.text().as_str()), (expected_stdout, expected_stderr));
    }

    #[test]
    fn lines_depend_on_the_verbosity() {
        let all = |reporter: &Reporter| {
            reporter.debug("d");
            reporter.line("l");
            reporter.notice("n");
            reporter.warning("w", None);
            reporter.error("e", Some("h"));
        };
        let at = |verbosity| Settings { verbosity, ..PLAIN };
        check(at(Verbosity::Quiet), all, "", "warning: w\nerror: e\nhint: h\n");
        check(PLAIN, all, "", "l\nnotice: n\nwarning: w\nerror: e\nhint: h\n");
        check(at(Verbosity::Verbose), all, "", "debug: d\nl\nnotice: n\nwarning: w\nerror: e\nhint: h\n");
    }

    #[test]
    fn what_concerns_the_run_is_said_once() {
        let act = |reporter: &Reporter| ["a", "b", "a"].into_iter().for_each(|text| reporter.notice_once(text));
        check(PLAIN, act, "", "notice: a\nnotice: b\n");
    }

    #[test]
    fn data_goes_to_stdout_where_no_document_is() {
        let act = |reporter: &Reporter| reporter.data("a\tb");
        check(PLAIN, act, "a\\tb\n", "");
        check(Settings { verbosity: Verbosity::Quiet, ..PLAIN }, act, "a\\tb\n", "");
        check(Settings { is_json: true, ..PLAIN }, act, "", "");
    }

    #[test]
    fn warnings_become_annotations_in_actions() {
        let act = |reporter: &Reporter| {
            reporter.line("l");
            reporter.warning("50%\nx", Some("h"));
        };
        let actions = Settings { commands: Commands::GitHub, ..PLAIN };
        check(actions, act, "::warning::50%25%0Ax%0Ahint: h\n", "l\n");
        check(Settings { is_json: true, ..actions }, act, "", "l\n::warning::50%25%0Ax%0Ahint: h\n");
    }

    #[test]
    fn names_do_not_become_commands() {
        let act = |reporter: &Reporter| reporter.line("skipped `a\n::error::x\x1b[2J##[error]`");
        check(PLAIN, act, "", "skipped `a\\n::error::x\\u{1b}[2J##[error]`\n");
        check(
            Settings { commands: Commands::GitHub, ..PLAIN },
            act,
            "",
            "skipped `a\\n::error::x\\u{1b}[2J## [error]`\n",
        );
    }

    #[test]
    fn data_does_not_become_commands() {
        let actions = Settings { commands: Commands::GitHub, ..PLAIN };
        for (data, expected) in [
            ("::error::x", ": :error::x\n"),
            (" \u{2003}::set-output name=a::b", ": :set-output name=a::b\n"),
            ("key  ::error::x", "key  ::error::x\n"),
            ("##[error]x", "## [error]x\n"),
        ] {
            let act = |reporter: &Reporter| reporter.data(data);
            check(actions, act, expected, "");
            let act = |reporter: &Reporter| reporter.line(data);
            check(actions, act, "", expected);
            check(PLAIN, |reporter| reporter.data(data), &format!("{data}\n"), "");
        }
    }

    #[test]
    fn colour_is_on_the_label_only() {
        let act = |reporter: &Reporter| reporter.error("e", None);
        check(Settings { has_color: true, ..PLAIN }, act, "", "\x1b[1;31merror:\x1b[0m e\n");
    }

    #[test]
    fn errors_are_printed_with_causes_and_hint() {
        let error = store::Error::new(ErrorKind::Denied, "list", "s3://b").hint("set credentials").source("403");
        check(
            PLAIN,
            |reporter| reporter.warning_for(&error),
            "",
            "warning: cannot list `s3://b`: denied: 403\nhint: set credentials\n",
        );
    }

    #[test]
    fn a_run_that_fails_for_trouble_has_one_annotation() {
        let actions = Settings { commands: Commands::GitHub, ..PLAIN };
        let act = |fails: bool| {
            move |reporter: &Reporter| {
                reporter.hold();
                reporter.warning("down", Some("wait"));
                if fails {
                    reporter.error("failed", None);
                }
                reporter.finish(Exit::Done, true);
            }
        };
        check(actions, act(true), "::error::failed%0Adown%0Ahint: wait\n", "");
        check(actions, act(false), "::warning::down%0Ahint: wait\n", "");
        check(PLAIN, act(true), "", "warning: down\nhint: wait\nerror: failed\n");
    }

    /// A writer that takes so many bytes.
    struct Full(usize);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.0);
            self.0 -= taken;
            if taken == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(taken) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn data_that_is_lost_fails_a_command_line_and_warns_in_a_job() {
        for (commands, to_fail, expected) in [
            (Commands::None, false, Exit::Failed),
            (Commands::None, true, Exit::Failed),
            (Commands::GitHub, false, Exit::Done),
            (Commands::GitHub, true, Exit::Failed),
        ] {
            for room in [0, 7] {
                let stderr = Capture::default();
                let settings = Settings { commands, ..PLAIN };
                let reporter = Reporter::to_writers(settings, Box::new(Full(room)), Box::new(stderr.clone()));
                assert_eq!(reporter.finish(Exit::Done, false), Exit::Done);
                ["one", "two", "three"].iter().for_each(|line| reporter.data(line));
                assert_eq!(reporter.finish(Exit::Done, to_fail), expected);
                let text = stderr.text();
                assert_eq!(text.matches("cannot write to the standard output").count(), 1, "{text}");
            }
        }
    }

    #[test]
    fn one_cause_is_one_warning() {
        let error = |object| store::Error::new(ErrorKind::Unavailable, "list", object).source("connection refused");
        let act = |reporter: &Reporter| {
            reporter.warning_for(&error("a"));
            reporter.warning_for(&error("b"));
            reporter.warning_for(&store::Error::new(ErrorKind::Denied, "get", "c"));
            assert_eq!(reporter.warnings(), 3);
        };
        let expected = "warning: cannot list `a`: unavailable: connection refused\nwarning: cannot get `c`: denied\n";
        check(PLAIN, act, "", expected);
    }

    #[test]
    fn the_document_is_printed_only_when_asked_for() {
        let act = |reporter: &Reporter| reporter.document(&serde_json::json!({"format": 1}));
        check(PLAIN, act, "", "");
        check(Settings { is_json: true, ..PLAIN }, act, "{\n  \"format\": 1\n}\n", "");
    }
}
