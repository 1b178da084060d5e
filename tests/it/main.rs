//! Integration tests through the real programs, one module for each topic.

#![cfg(test)]

mod command_line;
mod conformance;
mod help;
mod model;
mod support;
