//! Taking a role with the identity of a CI job: an identity token, exchanged at STS for credentials.
//!
//! Long-lived keys in the settings of a repository leak, and credentials that an earlier step has put into the environment
//! can be read by every later one and end after an hour. So the program takes the role itself: it asks the CI system for a
//! token (`token`), exchanges it (`sts`) and keeps the credentials in its own memory ([`provider`]), where they are
//! renewed for as long as it runs. They are never in an argument, a log, a file or the environment of a child.

pub mod provider;
pub mod role;
mod sts;
pub mod token;
