//! Buffers that are used again: memory that is given back to the system has to be cleared page by page when it is asked
//! for again, which costs as much as reading into it.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// No more buffers than this are kept when nothing is in them. There are never more than were in use at a time.
const MOST_FREE: usize = 64;

/// Buffers of one size, shared by all that read. Clones are the same pool.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    bytes: usize,
    free: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Pool {
    /// An empty pool of buffers of `bytes`.
    pub(crate) fn new(bytes: usize) -> Self {
        Self { bytes, free: Arc::default() }
    }

    /// An empty buffer with room for as many bytes as the pool is for.
    pub(crate) fn take(&self) -> Vec<u8> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        free.unwrap_or_else(|| Vec::with_capacity(self.bytes))
    }

    /// What a buffer of this pool holds. When nothing of it is used any more, the buffer returns to the pool.
    pub(crate) fn freeze(&self, buffer: Vec<u8>) -> Bytes {
        Bytes::from_owner(Lent { buffer, pool: self.clone() })
    }
}

struct Lent {
    buffer: Vec<u8>,
    pool: Pool,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        let mut free = self.pool.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < MOST_FREE && buffer.capacity() == self.pool.bytes {
            free.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_when_the_last_of_its_bytes_is_dropped() {
        let pool = Pool::new(100);
        let mut buffer = pool.take();
        buffer.extend_from_slice(b"content");
        let at = buffer.as_ptr();
        let bytes = pool.freeze(buffer);
        assert_eq!(bytes, "content");
        let slice = bytes.slice(3..5);
        drop(bytes);
        let other = pool.take();
        assert_ne!(other.as_ptr(), at, "a slice is still there");
        drop(slice);
        let again = pool.take();
        assert_eq!((again.as_ptr(), again.len(), again.capacity()), (at, 0, 100));
    }

    #[test]
    fn a_pool_keeps_no_more_than_a_few() {
        let pool = Pool::new(1);
        drop((0..2 * MOST_FREE).map(|_| pool.freeze(pool.take())).collect::<Vec<_>>());
        assert_eq!(pool.free.lock().unwrap().len(), MOST_FREE);
    }
}
