//! See `xcache_tests::fuzz::names`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| xcache_tests::fuzz::names(data));
