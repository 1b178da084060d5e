//! The `xcache-gc` command; everything is in the library half.

fn main() -> std::process::ExitCode {
    xcache_gc::main()
}
