//! The `tidegate` program. Everything it does is in the library, so that tests, benches and
//! fuzz targets see the same code.

use std::ffi::{c_int, c_long};

/// A stream of HTTP/2 asks for memory several dozen times. This allocator takes 15 % off the CPU
/// time of such a request, and large heads that come and go leave fewer holes.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc.h: the time after which memory that is free goes back to the
/// system, in milliseconds.
const PURGE_DELAY: c_int = 15;
/// The value of that option unless the environment has `MIMALLOC_PURGE_DELAY`.
const DEFAULT_DELAY: c_long = 1000;
/// The value of that option in this program. Each thread takes new memory at places of its own, so
/// what is free for a second is half as much again as a cache holds through which responses of
/// 16 KiB pass. Under load this is a hundred calls to the system a second.
const SHORT_DELAY: c_long = 10;

#[expect(unsafe_code, reason = "the allocator's options are set by functions of C")]
mod options {
    use std::ffi::{c_int, c_long};

    // Both are safe while there is one thread: they read and write a table of numbers.
    unsafe extern "C" {
        pub(crate) safe fn mi_option_get(option: c_int) -> c_long;
        pub(crate) safe fn mi_option_set(option: c_int, value: c_long);
    }
}

/// Has memory that is free go back to the system soon. To be called before there are threads.
fn return_memory_soon() {
    // Another version may count its options otherwise, and whoever runs this may know better.
    if options::mi_option_get(PURGE_DELAY) == DEFAULT_DELAY {
        options::mi_option_set(PURGE_DELAY, SHORT_DELAY);
    }
}

fn main() -> std::process::ExitCode {
    return_memory_soon();
    tidegate::cli::main()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_memory_goes_back_to_the_system_soon() {
        assert_eq!(options::mi_option_get(PURGE_DELAY), DEFAULT_DELAY, "as mimalloc.h has it");
        return_memory_soon();
        assert_eq!(options::mi_option_get(PURGE_DELAY), SHORT_DELAY);
        options::mi_option_set(PURGE_DELAY, 7);
        return_memory_soon();
        assert_eq!(options::mi_option_get(PURGE_DELAY), 7, "it was set by somebody else");
    }
}
