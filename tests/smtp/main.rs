//! Mail comes in by itself: `mailmill serve` and `mailmill smtp`, driven by a small client, by swaks, and by a real Postfix.
// A test that cannot go on says so by a panic, and looks at files as anybody would.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]
#![allow(clippy::case_sensitive_file_extension_comparisons)] // names that we gave ourselves

#[path = "../common/dns.rs"]
mod dns;

#[path = "../common/mod.rs"]
mod common;

#[path = "../common/load.rs"]
mod load;

mod client;

mod arrival;

mod refusals;

mod secure;

mod lmtp;

mod names;

mod bounces;

mod crash;

mod programs;
