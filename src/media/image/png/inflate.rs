//! A raw deflate stream (RFC 1951), inflated in pieces by ISA-L, in 0.6 of the time of the `png` crate's own inflate
//! (docs/decisions/0048-png-inflated-by-isa-l.md). The calls of ISA-L are the unsafe code of this folder.
//!
//! Why they are sound: the state is set up by ISA-L's own initialiser in memory that is all zeroes, which is a value of each
//! of its fields; it stays in its box. Both pointers are set before each call, from live slices with their lengths, and are
//! not followed after it. ISA-L does not write to its input, reads and writes within the lengths given, and keeps what
//! later bytes refer back to in the state.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;

use isal_sys::igzip_lib as sys;

/// What the state of a stream takes, its history included.
pub(super) const STATE_BYTES: usize = size_of::<sys::inflate_state>();

pub(super) struct Inflate(Box<sys::inflate_state>);

/// What one call did.
#[derive(Debug, PartialEq)]
pub(super) struct Step {
    pub(super) read: usize,
    pub(super) written: usize,
    /// The stream has ended, and all of it is written.
    pub(super) ended: bool,
}

/// The stream is not deflate.
#[derive(Debug, PartialEq)]
pub(super) struct Corrupt;

impl Inflate {
    pub(super) fn new() -> Self {
        let mut state = Box::new(MaybeUninit::zeroed());
        // SAFETY: see the head of this file. The initialiser sets what zero would not be right for.
        unsafe {
            sys::isal_inflate_init(state.as_mut_ptr());
            Self(state.assume_init())
        }
    }

    /// Reads some of `input` and fills `output` as far as that goes. What it did not read is to be given again; an empty
    /// input gives what was held back.
    pub(super) fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, Corrupt> {
        let state = &mut *self.0;
        let (most_in, most_out) = (length(input), length(output));
        state.next_in = input.as_ptr().cast_mut();
        state.avail_in = most_in;
        state.next_out = output.as_mut_ptr();
        state.avail_out = most_out;
        // SAFETY: see the head of this file.
        let status = unsafe { sys::isal_inflate(state) };
        if u32::try_from(status) != Ok(sys::ISAL_DECOMP_OK) {
            return Err(Corrupt);
        }
        Ok(Step {
            read: (most_in - state.avail_in) as usize,
            written: (most_out - state.avail_out) as usize,
            ended: state.block_state == sys::isal_block_state_ISAL_BLOCK_FINISH,
        })
    }
}

/// Longer slices are read or filled in part.
fn length(slice: &[u8]) -> u32 {
    u32::try_from(slice.len()).unwrap_or(u32::MAX)
}
