//! Floor 4: the SMTP service. Mail comes in by ESMTP or LMTP and is deposited in the drop folder; nothing here puts it into a list.
//!
//! ```text
//! socket -> server -> session (pure: bytes -> replies and wishes) -> deposit (group-committed files) -> 250
//! ```

pub mod reply;

pub mod address;

pub mod data;

pub mod session;

pub mod limits;

pub mod policy;

pub mod auth;

pub mod deposit;

pub mod tls;

pub mod names;

pub mod metrics;

pub mod conversation;

pub mod server;

pub mod checkup;

pub mod bounce;
