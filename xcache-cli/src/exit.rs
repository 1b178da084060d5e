//! Exit codes, the same for all three programs.

use std::process::ExitCode;

/// How a program ends, from good to bad. The README's table is tested against this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// Done; also a miss, an entry that already exists, and nothing to save.
    Done = 0,
    /// A failure that the user asked for (`--fail-on-cache-miss`, `--fail-on-error`), or unsafe to continue.
    Failed = 1,
    /// The command line or the configuration is wrong; nothing was done.
    Usage = 2,
}

impl Exit {
    /// All of them, in order.
    pub const ALL: [Self; 3] = [Self::Done, Self::Failed, Self::Usage];

    /// The number that the process ends with.
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::Exit;

    #[test]
    fn codes_are_what_the_readme_promises() {
        assert_eq!(Exit::ALL.map(Exit::code), [0, 1, 2]);
    }
}
