//! From an entry to files: compare with what is there, fetch what is missing, verify, write, or take everything back.
//!
//! ```text
//!   index ─▶ compare ─▶ plan ─▶ fetch (parts, any order) ─▶ frames (decode, verify, write) ─▶ links, attributes
//!   archive without an index ─▶ decode ─▶ extract                     both onto: disk
//! ```
//!
//! The two flows are `indexed` and `plain`. What keeps a restore safe is in `disk`, once for both: nothing is written
//! outside the asked-for paths, nothing is visible before it is verified, and one that cannot finish takes everything back.

mod compare;
mod destination;
mod disk;
mod error;
mod fetch;
mod frames;
mod guard;
mod indexed;
mod interrupt;
mod lines;
mod links;
mod old_file;
mod options;
mod plain;
mod plan;
mod roots;

pub use error::{Error, Failed};
pub use fetch::Frames;
pub use guard::Protected;
pub use indexed::RestoredEntry;
pub use interrupt::Interrupt;
pub use lines::{Leftovers, Lines, Moved};
pub use options::{Before, Options, Restored};
pub use plain::PlainSource;
pub(crate) use plain::read_to_end;
pub use roots::{OtherPaths, Roots};

use crate::paths::PathList;
use destination::Destination;
use disk::{Notices, OwnerPolicy, RootExtent, Target, TargetPolicy, Wanted};
use error::catch;

/// How many files were replaced, if that is not known.
const MANY: u64 = u64::MAX;

/// Restores the tree of an index onto `paths`. Blocks; to be called from a thread that may. `interrupt` stops it.
///
/// On failure, also by a panic, everything is taken back; [`Failed::replaced_files`] reports whether anything is left.
pub fn restore(
    entry: &RestoredEntry<'_>,
    paths: &PathList,
    options: &Options,
    interrupt: &Interrupt,
) -> Result<Restored, Failed> {
    let roots = Roots::assign(entry.index, paths).map_err(|error| untouched(error.into()))?;
    onto(&roots.wanted(), paths, options, interrupt, |target, notices| {
        indexed::restore(entry, &Destination { roots: &roots, target, options, interrupt }, notices)
    })
}

/// Restores a `.tar.zst` without an index onto the one root of `paths`. Blocks.
pub fn restore_plain(
    runtime: &tokio::runtime::Handle,
    source: &PlainSource<'_>,
    paths: &PathList,
    options: &Options,
    interrupt: &Interrupt,
) -> Result<Restored, Failed> {
    Roots::check_plain(paths).map_err(|error| untouched(error.into()))?;
    let wanted = Wanted { line: 0, base: paths.roots()[0].base.clone(), extent: RootExtent::Whole };
    let once = || {
        onto(std::slice::from_ref(&wanted), paths, options, interrupt, |target, notices| {
            plain::restore(runtime, source, target, interrupt, notices)
        })
    };
    match once() {
        // Bytes can be spoilt on the way: what comes twice the same is spoilt in the store.
        Err(Failed { error: Error::Archive(_), replaced_files: 0 }) => match once() {
            Ok(restored) => Ok(Restored { fetched_bytes: 2 * restored.fetched_bytes, ..restored }),
            Err(Failed { error: Error::Archive(damage), replaced_files }) => {
                Err(Failed { error: runtime.block_on(plain::damaged(source, damage)), replaced_files })
            }
            Err(failed) => Err(failed),
        },
        done => done,
    }
}

/// Opens the target and runs a restore onto it. If that fails, or panics, everything is taken back.
fn onto(
    wanted: &[Wanted],
    paths: &PathList,
    options: &Options,
    interrupt: &Interrupt,
    run: impl FnOnce(&Target<'_>, &mut Notices) -> Result<Restored, Error>,
) -> Result<Restored, Failed> {
    let policy = TargetPolicy {
        owners: if options.same_owner { OwnerPolicy::Saved } else { OwnerPolicy::Own },
        clean: options.clean,
        clean_repositories: options.clean_repositories,
        run: options.run.short(),
        threads: options.workers,
    };
    let mut notices = Notices::default();
    let target = catch(|| Ok(Target::open(wanted, paths, policy, interrupt, &mut notices)?)).map_err(untouched)?;
    match catch(|| run(&target, &mut notices)) {
        Ok(restored) => Ok(Restored { notices: notices.lines(), ..restored }),
        Err(error) => {
            // Should even this panic, it is not known how many were replaced: more than none.
            let replaced_files = catch(|| Ok(target.roll_back())).unwrap_or(MANY);
            Err(Failed { error, replaced_files })
        }
    }
}

fn untouched(error: Error) -> Failed {
    Failed { error, replaced_files: 0 }
}
