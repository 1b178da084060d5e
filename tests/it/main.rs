//! Integration tests through the real programs.
