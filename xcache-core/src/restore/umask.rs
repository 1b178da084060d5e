//! The umask of the process, which is not part of what was saved.
//!
//! It belongs to all threads, and several caches may be restored at once: it is read, and never changed.

use std::sync::OnceLock;

/// The bits that are taken from the mode of whatever is made. All of them where the system does not tell, so that
/// every mode is set once more.
pub(super) fn umask() -> u32 {
    static UMASK: OnceLock<u32> = OnceLock::new();
    *UMASK.get_or_init(|| {
        let status = std::fs::read("/proc/self/status").unwrap_or_default();
        parse(&String::from_utf8_lossy(&status)).unwrap_or(0o777)
    })
}

/// Finds it in what the kernel tells of a process.
fn parse(status: &str) -> Option<u32> {
    let octal = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
    u32::from_str_radix(octal.trim(), 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_umask_is_found_in_the_status_of_the_process() {
        let check = |status, expected| assert_eq!(parse(status), expected, "{status}");
        check("Name:\tx\nUmask:\t0022\nState:\tR (running)\n", Some(0o22));
        check("Umask:\t0000\n", Some(0));
        check("Name:\tUmask:\t0022\n", None);
        check("Umask:\tx\n", None);
        check("", None);
    }
}
