//! What a thread holds at most, libraries in C included: told by the address sanitizer, whose allocator is everybody's.

use std::cell::Cell;
use std::ffi::c_void;
use std::sync::Once;

type Taken = extern "C" fn(*const c_void, usize);
type Freed = extern "C" fn(*const c_void);

unsafe extern "C" {
    fn __sanitizer_install_malloc_and_free_hooks(taken: Taken, freed: Freed) -> i32;
    fn __sanitizer_get_allocated_size(at: *const c_void) -> usize;
}

thread_local! {
    /// Bytes that this thread holds, and the most that it held.
    static HELD: Cell<(i64, i64)> = const { Cell::new((0, 0)) };
}

fn count(bytes: i64) {
    let _ = HELD.try_with(|held| {
        let (now, most) = held.get();
        held.set((now + bytes, most.max(now + bytes)));
    });
}

extern "C" fn taken(_: *const c_void, bytes: usize) {
    count(bytes as i64);
}

extern "C" fn freed(at: *const c_void) {
    if !at.is_null() {
        // SAFETY: it is being freed, and so still known.
        count(-(unsafe { __sanitizer_get_allocated_size(at) } as i64));
    }
}

/// The most that `job` held at a time.
pub fn peak<T>(job: impl FnOnce() -> T) -> (T, u64) {
    static INSTALLED: Once = Once::new();
    // SAFETY: both may be called from any thread at any time; neither allocates.
    INSTALLED.call_once(|| assert!(unsafe { __sanitizer_install_malloc_and_free_hooks(taken, freed) } > 0));
    let before = HELD.get().0;
    HELD.set((before, before));
    let done = job();
    (done, (HELD.get().1 - before).max(0) as u64)
}
