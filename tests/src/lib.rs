//! Support for the integration tests: servers, places for objects, jobs that run the programs, and trees of files.
//!
//! Nothing here knows how the programs work inside: they are run as a runner would run them, and judged by what they
//! print, write and ask of the store.

pub mod fuzz;
pub mod job;
pub mod memory;
pub mod messages;
pub mod place;
pub mod proxy;
pub mod recorded;
pub mod runner;
pub mod s3;
pub mod skip;
pub mod sts;
pub mod tree;
