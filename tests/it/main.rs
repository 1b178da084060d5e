//! Integration tests through the real programs, one module for each topic.

#![cfg(test)]

mod conformance;
mod model;
mod support;
