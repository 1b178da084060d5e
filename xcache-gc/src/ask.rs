//! Asking before much is deleted.

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::Context as _;
use xcache_cli::report::human::{Bytes, Count};

/// Deleting this many entries is not worth a question.
const FEW: u64 = 3;

/// Whether there is a user to be asked.
pub(crate) fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks whether to delete. Anything but a yes is a no.
pub(crate) fn confirm(entries: u64, bytes: u64) -> anyhow::Result<bool> {
    if entries <= FEW {
        return Ok(true);
    }
    let mut stderr = io::stderr().lock();
    write!(stderr, "delete {}, {}? [y/N] ", Count(entries, "entry"), Bytes(bytes)).context("cannot ask")?;
    stderr.flush().context("cannot ask")?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).context("cannot read the answer")?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
