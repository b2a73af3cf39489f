//! What must hold of any input, one module for each target. They know nothing of the fuzzer: `tests/regress.rs`
//! includes them and replays seeds and findings through the same checks.

pub mod envelope;

pub mod mime;

pub mod dkim;

pub mod names;

pub mod import;

pub mod ical;

pub mod tnef;

pub mod sanitise;

pub mod smtp;

pub mod store;
