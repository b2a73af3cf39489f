//! Floor 0: the words of the trade. No I/O, no threads, no clock: every type here can be written down as a literal in a test.

pub mod mail;

pub mod units;

pub mod settings;

pub mod list;

pub mod rights;

pub mod plan;

pub mod item;

pub mod outcome;

pub mod names;

pub mod thread;
