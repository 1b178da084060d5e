//! The `xcache-restore` command; everything is in the library half.

fn main() -> std::process::ExitCode {
    xcache_restore::main()
}
