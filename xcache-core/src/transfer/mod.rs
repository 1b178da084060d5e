//! Moving objects to and from a store in parts, several at a time.
//!
//! `request` is one request for bytes that does not give up at the first broken body or absurd answer; `download` fetches
//! ranges with it and hands over each piece as soon as it is there; `upload` publishes an object whose bytes are still
//! being made. Both hold at most their limits' parts in memory and end all their tasks before they return.

pub mod upload;
pub mod request;
pub mod download;
mod fleet;
pub mod limits;
mod part;
pub mod part_fetch;
pub mod publication;
mod retry;

#[cfg(test)]
pub(crate) mod doubles;
