//! The log of `-v`: what the core traces, on stderr.

use std::io::{self, Write};

use tracing_subscriber::EnvFilter;
use xcache_core::redact;

use super::settings::{Settings, Verbosity};

/// Sends the traces of our own crates to stderr. Does nothing below `-v`, or if the process already has a log.
///
/// The SDK is left out on purpose, but for how it finds credentials: its deeper traces show signed requests, and its readers
/// of variables repeat values that they cannot use, passwords in addresses included.
pub fn init_log(settings: Settings) {
    let filter = match settings.verbosity {
        Verbosity::Quiet | Verbosity::Normal => return,
        Verbosity::Verbose => {
            "off,xcache_core=debug,xcache_save=debug,xcache_restore=debug,xcache_gc=debug,aws_config=info,aws_config::default_provider=off"
        }
        Verbosity::Trace => {
            "off,xcache_core=trace,xcache_save=trace,xcache_restore=trace,xcache_gc=trace,aws_config=debug,aws_config::default_provider=off"
        }
    };
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_ansi(settings.has_color)
        .with_writer(|| Hiding(io::stderr()))
        .with_target(false)
        // It would print to stderr, and panic if that is what cannot be written to.
        .log_internal_errors(false)
        .finish();
    // A second program in the same process (the tests) logs where the first one does.
    drop(tracing::subscriber::set_global_default(subscriber));
}

/// Hides secrets. A line of the log is written at once.
struct Hiding(io::Stderr);

impl Write for Hiding {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.0.write_all(redact::hide(text).as_bytes())?,
            Err(_) => self.0.write_all(bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
