//! Read buffers, borrowed for as long as they hold bytes.
//!
//! A worker keeps a short stack of buffers per size. A connection takes one when it reads and gives
//! it back as soon as the bytes have been passed on, usually within the same poll, so ten thousand
//! idle connections hold none, and the buffer on top of the stack is still in the cache. Large
//! reads matter for large bodies (16 KiB to 256 KiB saved a fifth of the CPU time per MiB), so a
//! read always gets a large buffer while not too many of them are out with slow readers.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

use super::held::{self, Weight};

/// The size of a buffer for reading bodies.
pub const LARGE: usize = 256 * 1024;
/// The size of a buffer when too many large ones are in use.
pub const SMALL: usize = 16 * 1024;
/// Large buffers that one worker may have out before reads get small ones: 32 MiB.
const MAX_LARGE_OUT: usize = 128;
/// Unused buffers of each size that a worker keeps.
const KEEP: usize = 16;

#[derive(Debug, Default)]
struct BufferStack {
    large: Vec<Box<[u8]>>,
    small: Vec<Box<[u8]>>,
    large_out: usize,
}

thread_local! {
    static STACK: RefCell<BufferStack> = RefCell::default();
}

/// The size of a buffer when requests under way hold nearly all that they may.
const TINY: usize = 4 * 1024;

/// A borrowed buffer; goes back to its worker when dropped.
#[derive(Debug)]
pub struct Buffer {
    bytes: Box<[u8]>,
    /// Counted among what requests hold for as long as it is out.
    _weight: Weight,
}

impl Buffer {
    /// Takes a buffer for reading from a socket.
    #[must_use]
    pub fn take_buffer() -> Self {
        STACK.with_borrow_mut(|stack| {
            // What many hold for long has to be small when there is little.
            if stack.large_out < MAX_LARGE_OUT && !held::exceeds(4, LARGE) {
                stack.large_out += 1;
                let kept = stack.large.pop();
                Self::from_bytes(kept.unwrap_or_else(|| vec![0; LARGE].into_boxed_slice()))
            } else if !held::exceeds(2, SMALL) {
                let kept = stack.small.pop();
                Self::from_bytes(kept.unwrap_or_else(|| vec![0; SMALL].into_boxed_slice()))
            } else {
                Self::from_bytes(vec![0; TINY].into_boxed_slice())
            }
        })
    }

    fn from_bytes(bytes: Box<[u8]>) -> Self {
        let _weight = Weight::new(bytes.len());
        Self { bytes, _weight }
    }

    /// A buffer of another size, for bytes that wait longer than one poll.
    #[must_use]
    pub fn with_size(size: usize) -> Self {
        // The two pooled sizes are left to `take`, which counts them.
        let size = if size == LARGE || size == SMALL { size + 1 } else { size };
        Self::from_bytes(vec![0; size].into_boxed_slice())
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.bytes);
        // A thread that is going away has no stack any more; the memory is simply freed.
        let _gone = STACK.try_with(|stack| {
            let Ok(mut stack) = stack.try_borrow_mut() else { return };
            match buffer.len() {
                LARGE => {
                    stack.large_out = stack.large_out.saturating_sub(1);
                    if stack.large.len() < KEEP {
                        stack.large.push(buffer);
                    }
                }
                SMALL if stack.small.len() < KEEP => stack.small.push(buffer),
                _ => {}
            }
        });
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_returned_buffer_is_the_next_one_taken() {
        let first = Buffer::take_buffer();
        let address = first.as_ptr();
        drop(first);
        assert_eq!(Buffer::take_buffer().as_ptr(), address);
    }

    #[test]
    fn large_buffers_run_out_before_memory_does() {
        let held: Vec<_> = (0..MAX_LARGE_OUT).map(|_| Buffer::take_buffer()).collect();
        assert!(held.iter().all(|b| b.len() == LARGE));
        assert_eq!(Buffer::take_buffer().len(), SMALL);
        drop(held);
        assert_eq!(Buffer::take_buffer().len(), LARGE);
    }
}
