//! The `millrace` binary.

use std::process::ExitCode;

/// Returns memory of evicted blocks quickly and keeps small allocations cheap across threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    millrace::app::cli::main()
}
