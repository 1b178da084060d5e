//! Moving objects to and from a store in parts, several at a time.
//!
//! `upload` publishes an object whose bytes are still being made; `download` fetches ranges and hands over each piece
//! as soon as it is there; `tail` fetches the end of an object. Both hold at most their limits' parts in memory and end
//! all their tasks before they return.

pub mod upload;
pub mod download;
mod fleet;
mod part;
mod publication;
mod retry;
pub mod tail;

#[cfg(test)]
pub(crate) mod doubles;
