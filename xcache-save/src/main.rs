//! The `xcache-save` command; everything is in the library half.

fn main() -> std::process::ExitCode {
    xcache_save::main()
}
