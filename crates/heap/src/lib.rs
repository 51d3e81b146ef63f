//! Gives memory that was freed back to the system. It is a crate of its own for the one
//! call of a C function, so that everything else can forbid unsafe code.

/// Gives back what was freed and is still kept for later. glibc does so by itself only at
/// the end of a heap, where one small allocation that lives on keeps all below it. Takes
/// some milliseconds for 100 MB. Does nothing on other C libraries.
pub fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: may be called at any time, from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
