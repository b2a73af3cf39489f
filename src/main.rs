//! Words in, exit code out. Everything else is the library.

use std::process::ExitCode;

/// Mail is allocated on one thread and freed on another, and RocksDB does the same with its own: jemalloc is made for that.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    mailmill::cli::main()
}
