//! Names that no other process makes, for temporary files, probes and uploads. They show which process of which machine made
//! them, so that what a dead one has left can be told from what a live one is writing.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

/// A new name: the machine, the process, a counter, and 64 bits of the standard library's randomness, for machines that
/// cannot be told apart.
pub(crate) fn unique_name() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let random = RandomState::new().hash_one(count);
    format!("{}-{:x}-{count:x}-{random:016x}", *MACHINE, std::process::id())
}

/// This boot of this machine, as far as process numbers mean the same: containers have their own.
static MACHINE: LazyLock<String> = LazyLock::new(|| {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let processes = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let mut hasher = blake3::Hasher::new();
    hasher.update(boot.as_bytes()).update(processes.as_os_str().as_encoded_bytes());
    hasher.finalize().to_hex()[..16].to_owned()
});

/// Whether the process that made this name is known to be dead. Of another machine's nothing is known.
pub(super) fn is_maker_dead(name: &str) -> bool {
    let mut parts = name.split('-');
    let (machine, process) = (parts.next(), parts.next());
    let process = process.and_then(|process| i32::from_str_radix(process, 16).ok()).and_then(Pid::from_raw);
    let Some(process) = process.filter(|_| machine == Some(MACHINE.as_str())) else { return false };
    test_kill_process(process) == Err(Errno::SRCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_dead_of_this_machine_are_dead() {
        assert_ne!(unique_name(), unique_name());
        let own = unique_name();
        assert!(!is_maker_dead(&own) && !is_maker_dead(&format!("{own}.json")));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let id = child.id();
        child.wait().unwrap();
        let dead = format!("{}-{id:x}-0-0123456789abcdef", *MACHINE);
        assert!(is_maker_dead(&dead) && is_maker_dead(&format!("{dead}.json")));
        assert!(!is_maker_dead(&dead.replace(MACHINE.as_str(), "0123456789abcdef")), "of another machine");
        for odd in ["", "x", "x-y", "lock", &format!("{}-zz-0", *MACHINE), &format!("{}-0-0", *MACHINE)] {
            assert!(!is_maker_dead(odd), "{odd}");
        }
    }
}
