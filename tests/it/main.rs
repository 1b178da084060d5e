//! Integration tests through the real programs, one module for each topic.

#![cfg(test)]

mod command_line;
mod conformance;
mod fidelity;
mod help;
mod hostile;
mod interop;
mod model;
mod restore_cases;
mod save_cases;
mod support;
