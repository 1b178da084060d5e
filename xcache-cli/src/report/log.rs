//! The log of `-v`: what the core traces, on stderr.

use std::io;

use tracing_subscriber::EnvFilter;

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
        .with_writer(io::stderr)
        .with_target(false)
        // It would print to stderr, and panic if that is what cannot be written to.
        .log_internal_errors(false)
        .finish();
    // A second program in the same process (the tests) logs where the first one does.
    drop(tracing::subscriber::set_global_default(subscriber));
}
