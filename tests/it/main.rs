//! Integration tests through the real programs.

mod model;
