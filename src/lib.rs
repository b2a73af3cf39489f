//! mailmill turns a folder of mail files into items of lists and libraries: once each, fast, and with every file accounted for.
//!
//! ```text
//!  drop/ --> claim --> read -> parse -> route -> plan --> commit --> settle
//!           (spool)   \_____ one mail, one worker _____/  (one group, one sync)
//! ```
//!
//! The modules stand in reading order. A floor never imports a higher one; `tests/architecture.rs` reads the `use` lines.

// Floor 0: words. No I/O, no threads, no clock.
pub mod model;

pub mod calendar;

pub mod extract;

pub mod html;

// Floor 1: edges. Each owns one outside thing.
pub mod config;

pub mod directory;

pub mod spool;

pub mod store;

pub mod lists;

pub mod import_source;

// Floor 2: what happens to one mail. No stage names another stage.
pub mod pipeline;

// Floor 3: threads, channels, the budget of mail in flight.
pub mod engine;

// Floor 4: doors.
pub mod smtp;

pub mod cli;

pub mod generate;
