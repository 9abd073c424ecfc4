//! The `millrace` binary.

use std::{
    ffi::{c_int, c_long},
    process::ExitCode,
};

/// Returns memory of evicted blocks quickly, see [`PURGE_DELAY`], and keeps small allocations cheap across threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Milliseconds after which freed memory goes back to the system. Left alone it would be a second: long, when the memory tier gives away
/// blocks for what is of other sizes, for which the allocator does not use their memory.
const PURGE_DELAY: c_long = 100;

/// What it is unless `MIMALLOC_PURGE_DELAY` says otherwise.
const USUAL_DELAY: c_long = 1000;

/// `mi_option_purge_delay`, which the bindings do not have.
const PURGE_DELAY_OPTION: c_int = 15;

fn main() -> ExitCode {
    return_memory_sooner();
    millrace::app::cli::main()
}

#[allow(unsafe_code)]
fn return_memory_sooner() {
    unsafe extern "C" {
        fn mi_option_get(option: c_int) -> c_long;
        fn mi_option_set(option: c_int, value: c_long);
    }
    // SAFETY: both take any number, and there are no other threads yet. Should the option be another one day, it is left alone.
    unsafe {
        if mi_option_get(PURGE_DELAY_OPTION) == USUAL_DELAY {
            mi_option_set(PURGE_DELAY_OPTION, PURGE_DELAY);
        }
    }
}
